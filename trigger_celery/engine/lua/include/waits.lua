-- Waiting: edges between runs and what they wait for (a waitpoint, a run, a batch), and how a run
-- goes on. `waiters:<target>` holds runs, `waiting:<run>` holds targets; an edge is in both.
-- A run that is in its owner's memory is told through the mailbox; one without an owner is queued
-- for any worker, which replays it.
-- Where a run is told: its own mailbox on pools of processes and threads, else its session's.
local function tell(own_post, owner, message)
  post(own_post or owner, message)
end

local function resume(id, lane, owner, own_post, run, now, target)
  local wq, q, k = split(lane)
  hold({ id }, 1, q, k, owner, now)
  if room_of_key(q, k) <= 0 then take_out(lane, wq, q) end
  change(run, 'EXECUTING', now, 'told', now)
  tell(own_post, owner, 'resume ' .. id .. ' ' .. target)
end

-- Lets a run go on after one of its targets is done.
local function go_on(id, target, now)
  local f = redis.call('HMGET', key_run(id), 'status', 'owner', 'lane', 'created', 'n', 'watch',
    'post', 'queued', 'prio', 'resuming')
  local status, owner = f[1], f[2]
  if status ~= 'WAITING' then
    if owner and (status == 'EXECUTING' or f[10]) then
      tell(f[7], owner, 'done ' .. id .. ' ' .. target)
    end
    return
  end
  local _, q, k = split(f[3])
  local run = { id = id, before = status, created = f[4], n = f[5], watched = f[6] }
  local score = int(tonumber(f[8]) - tonumber(f[9] or '0'))
  if not owner then
    change(run, 'QUEUED', now, 'resume', '1')
    enqueue(f[3], { score, id })
  elseif redis.call('EXISTS', key_resuming(q, k)) == 0 and room(q, k) > 0
    and environment_room() > 0 then
    resume(id, f[3], owner, f[7], run, now, target)
  else
    change(run, 'QUEUED', now, 'resuming', '1')
    redis.call('ZADD', key_resuming(q, k), score, id)
    redis.call('ZADD', key_resuming_groups(), 'NX', now, q .. ':' .. k)
    redis.call('ZADD', key_resuming_keys(q), 'NX', now, k)
    tell(f[7], owner, 'done ' .. id .. ' ' .. target)
  end
end

-- Wakes up to 100 waiters; a timer wakes the rest.
-- RARE
local function wake_waiters(target, now)
  for _, id in ipairs(redis.call('SPOP', key_waiters(target), 100)) do
    redis.call('SREM', key_waiting(id), target)
    go_on(id, target, now)
  end
  if redis.call('EXISTS', key_waiters(target)) == 1 then
    redis.call('ZADD', key_timers(), now, timer_drain(target))
    hurry(now, now)
  end
end

-- A date that only this run waited for is of no use without it.
local function forget_date(target)
  local f = redis.call('HMGET', key_waitpoint(target), 'type', 'status', 'key')
  if f[1] == 'DATETIME' and f[2] == 'WAITING' and not f[3] then
    redis.call('DEL', key_waitpoint(target))
    redis.call('ZREM', key_timers(), timer_waitpoint(target))
  end
end

-- An attempt is over: its edges and the record of its durable calls go. Steps stay for the next.
-- RARE
local function forget_waits(id)
  for _, target in ipairs(redis.call('SMEMBERS', key_waiting(id))) do
    redis.call('SREM', key_waiters(target), id)
    redis.call('SREM', key_keepers(target), id)
    forget_date(target)
  end
  redis.call('DEL', key_waiting(id), key_calls(id), key_rests(id))
  redis.call('HDEL', key_run(id), 'waits', 'resumed', 'resume', 'told')
end

-- A run no longer waits for a slot to go on.
local function leave_resuming(id, q, k)
  if redis.call('ZREM', key_resuming(q, k), id) == 0 then return end
  if redis.call('EXISTS', key_resuming(q, k)) == 0 then
    redis.call('ZREM', key_resuming_groups(), q .. ':' .. k)
    redis.call('ZREM', key_resuming_keys(q), k)
  end
end

-- The worker lost or gave up the memory of a waiting run: it is replayed when it can go on.
-- Returns whether the run could go on already and is queued.
local function abandon(id, f)
  redis.call('HDEL', key_run(id), 'owner', 'post', 'resuming', 'told')
  if f.status == 'WAITING' then return false end
  local _, q, k = split(f.lane)
  leave_resuming(id, q, k)
  redis.call('HSET', key_run(id), 'resume', '1')
  enqueue(f.lane, { int(tonumber(f.queued) - tonumber(f.prio or '0')), id })
  return true
end
