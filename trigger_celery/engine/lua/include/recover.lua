-- Takes runs from a session that is gone: unstarted ones go back to where they stood, started
-- ones get a new attempt if there is one left, else they end as CRASHED. An attempt that was still
-- to begin after a short delay has not started: it begins elsewhere at its time. A waiting run goes
-- on waiting, without its memory. What was handed over, or told to go on, after the session was last
-- seen has not begun either, as its worker may have been gone by then: at most ten times for a run
-- that waited, and for a new one within the losses that end it.
-- INCLUDE seal

local function attempts_allowed(task, max)
  if max then return tonumber(max) end
  local known = redis.call('HGET', key_tasks(), task)
  return tonumber(known and string.match(known, '^[^\31]*\31[^\31]*\31(%d+)') or '1')
end

local function last_seen(session)
  local f = redis.call('HMGET', key_worker(session), 'seen', 'since')
  return math.max(tonumber(f[1] or '0'), tonumber(f[2] or '0'))
end

local MAX_UNSURE = 10

-- Whether the session may never have heard of the run.
local function is_unheard(f, session, lost)
  if not f[19] or tonumber(f[19]) < last_seen(session) then return false end
  if f[15] then return tonumber(f[20] or '0') < MAX_UNSURE end
  return lost < MAX_LOSSES
end

-- Such a run goes back, as the attempt it was.
local function return_unheard(id, f, run, epoch, op_id, lost, now)
  redis.call('HDEL', key_run(id), 'post', 'told')
  if f[15] then
    redis.call('HINCRBY', key_run(id), 'unsure', 1)
    change(run, 'QUEUED', now, 'op', op_id, 'epoch', epoch, 'resume', '1')
  else
    change(run, 'QUEUED', now, 'op', op_id, 'epoch', epoch, 'lost', lost,
      'attempt', int(tonumber(f[7]) - 1))
  end
  enqueue(f[3], { int(tonumber(f[13]) - tonumber(f[14] or '0')), id })
end

-- counted: whether the loss counts towards the three after which a run ends.
local function recover(id, session, op_id, error, counted, retention, now, freed)
  local f = redis.call('HMGET', key_run(id), 'status', 'owner', 'lane', 'created', 'n', 'watch',
    'attempt', 'since', 'task', 'max', 'lost', 'epoch', 'queued', 'prio', 'waits', 'waited',
    'batch', 'resuming', 'told', 'unsure')
  redis.call('SREM', key_owned(session), id)
  if f[2] ~= session then return nil end
  if f[1] == 'WAITING' or f[18] then
    redis.call('HSET', key_run(id), 'epoch', int(tonumber(f[12]) + 1))
    abandon(id, { status = f[1], lane = f[3], queued = f[13], prio = f[14] })
    return f[1]
  end
  if not (f[1] == 'DEQUEUED' or f[1] == 'EXECUTING') then return nil end
  local run = { id = id, before = f[1], created = f[4], n = f[5], watched = f[6] }
  local epoch = int(tonumber(f[12]) + 1)
  local delayed = f[1] == 'EXECUTING' and tonumber(f[8]) > now
  local started = f[1] == 'EXECUTING' and not delayed
  local lost = tonumber(f[11] or '0') + (counted and started and 1 or 0)
  release(id, f[3], session, freed)
  redis.call('HDEL', key_run(id), 'owner')
  if started and is_unheard(f, session, lost) then
    return_unheard(id, f, run, epoch, op_id, lost, now)
    return 'QUEUED'
  end
  if delayed then
    change(run, 'QUEUED', now, 'op', op_id, 'epoch', epoch, 'attempt', int(tonumber(f[7]) - 1))
    redis.call('ZADD', key_timers(), f[8], id)
    return 'QUEUED'
  end
  if started then
    redis.call('RPUSH', key_attempts(id), '{"number":' .. f[7] .. ',"started":' .. f[8]
      .. ',"finished":' .. int(now) .. ',"error":' .. error .. '}')
    if f[15] then forget_waits(id) end
    if lost >= MAX_LOSSES or tonumber(f[7]) >= attempts_allowed(f[9], f[10]) then
      seal_with(id, error, retention, now)
      change(run, 'CRASHED', now, 'op', op_id, 'epoch', epoch, 'lost', lost,
        'finished', int(now))
      settle(id, f[15], f[16], f[17], now)
      return 'CRASHED'
    end
  end
  change(run, 'QUEUED', now, 'op', op_id, 'epoch', epoch, 'lost', lost)
  enqueue(f[3], { int(tonumber(f[13]) - tonumber(f[14] or '0')), id })
  return 'QUEUED'
end

local function forget(session)
  redis.call('ZREM', key_workers(), session)
  for wq in string.gmatch(redis.call('HGET', key_worker(session), 'serves') or '', '%x+') do
    redis.call('ZREM', key_idle(wq), session)
  end
  redis.call('DEL', key_worker(session), key_mailbox(session))
end
