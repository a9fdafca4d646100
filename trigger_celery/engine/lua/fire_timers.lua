-- fire_timers: does what is due. A run: DELAYED -> QUEUED, and a QUEUED one that waits for a retry
-- enters its lane, or EXPIRED: it was not begun within its TTL. A waitpoint: a date is reached, a token times out. Waiters that are still to be
-- woken, children of a cancelled run, batches that nobody sealed. What the rate of a queue held back.
-- KEYS  scope
-- ARGV  count op_id error retention expiry
--       error: that of runs which end with their parent. expiry: that of expired ones, %s for their TTL.
-- REPLY {fired, due ms of the next timer or '', now ms, timers that failed and why…}
--       What fails is tried again a minute later, and stops nothing else.
-- TTL   final runs, waitpoints and batches: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE settle
-- INCLUDE cancel
-- INCLUDE complete
-- INCLUDE expire
-- INCLUDE unpark
-- INCLUDE reopen
local now = clock()
local due = redis.call('ZRANGEBYSCORE', key_timers(), '-inf', int(now), 'WITHSCORES',
  'LIMIT', 0, count)
local lanes, freed, failed = {}, {}, {}

local function reach(id)
  local f = redis.call('HMGET', key_waitpoint(id), 'type', 'status')
  if f[2] ~= 'WAITING' then return end
  local status = f[1] == 'TOKEN' and 'TIMED_OUT' or 'COMPLETED'
  complete(id, status, 'application/json', nil, tonumber(retention), now)
end

local function abort(id)
  if redis.call('HGET', key_batch(id), 'status') == 'PROCESSING' then
    end_batch(id, 'ABORTED', now)
  end
end

local function promote(id, at)
  local f = redis.call('HMGET', key_run(id), 'status', 'lane', 'created', 'n', 'watch', 'prio',
    'ttl')
  if f[1] == 'DELAYED' or f[1] == 'QUEUED' then
    if f[1] == 'DELAYED' then
      local run = { id = id, before = f[1], created = f[3], n = f[4], watched = f[5] }
      change(run, 'QUEUED', now, 'queued', at)
      if f[7] then redis.call('ZADD', key_timers(), int(now + f[7]), timer_expire(id)) end
    end
    local entries = lanes[f[2]] or {}
    lanes[f[2]] = entries
    entries[#entries + 1] = int(tonumber(at) - tonumber(f[6] or '0'))
    entries[#entries + 1] = id
  end
end

local function attempt(name, work, ...)
  local ok, problem = pcall(work, ...)
  if ok then return true end
  failed[#failed + 1] = name
  failed[#failed + 1] = type(problem) == 'table' and problem.err or tostring(problem)
  return false
end

local function enqueue_promoted()
  attempt('', write_gathered)
  local promoted = lanes
  lanes = {}
  for lane, entries in pairs(promoted) do
    if not attempt(timer_lane(lane), enqueue, lane, entries) then
      for i = 2, #entries, 2 do redis.call('ZADD', key_timers(), int(now + 60000), entries[i]) end
    end
  end
end

local function fire(name, at)
  local kind, id = string.match(name, '^(%l+):(.*)$')
  if kind == 'waitpoint' then
    reach(id)
  elseif kind == 'drain' then
    wake_waiters(id, now)
  elseif kind == 'cancel' then
    enqueue_promoted()
    cancel(id, op_id, error, tonumber(retention), now, freed)
  elseif kind == 'batch' then
    abort(id)
  elseif kind == 'expire' then
    enqueue_promoted()
    expire(id, tonumber(retention), now)
  elseif kind == 'lane' or kind == 'gate' then
    enqueue_promoted()
    reopen(kind, id)
  elseif kind == 'look' then
    enqueue_promoted()
    look_on(id, now)
  elseif kind == 'release' then
    release_parked(id, now)
  else
    promote(name, at)
  end
end

for i = 1, #due, 2 do
  redis.call('ZREM', key_timers(), due[i])
  if not attempt(due[i], fire, due[i], due[i + 1]) then
    redis.call('ZADD', key_timers(), int(now + 60000), due[i])
  end
end
enqueue_promoted()
attempt('', reoffer, freed, '', now)
local head = redis.call('ZRANGE', key_timers(), 0, 0, 'WITHSCORES')
return { #due / 2, head[2] or '', int(now), unpack(failed) }
