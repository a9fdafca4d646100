-- What follows when a run is final: who waits for it goes on, and its batch counts it.
local function end_batch(id, status, now)
  local retention = tonumber(redis.call('HGET', key_batch(id), 'retention'))
  local ttl = int(retention + 604800000)
  redis.call('HSET', key_batch(id), 'status', status, 'completed', now)
  redis.call('ZREM', key_timers(), timer_batch(id))
  redis.call('ZADD', key_retention(), int(now + retention), id)
  for _, name in ipairs({ key_batch(id), key_batch_runs(id), key_batch_left(id) }) do
    redis.call('PEXPIRE', name, ttl)
  end
  wake_waiters(id, now)
end

-- A batch whose runs are all final ends, once it is known that no more of them come.
-- RARE
local function count_batch(id, now)
  if redis.call('EXISTS', key_batch_left(id)) == 1 then return end
  local f = redis.call('HMGET', key_batch(id), 'status', 'sealed', 'errors')
  if f[1] ~= 'PROCESSING' or not f[2] then return end
  end_batch(id, f[3] and 'PARTIAL_FAILED' or 'COMPLETED', now)
end

-- Callbacks, chains and chords of Celery go on from a worker: `c` whatever the status is, `r` where
-- no attempt has told the result. Such runs are marked `waited` from their beginning.
-- RARE
local function hand_on(id, now)
  local flag = redis.call('GETRANGE', key_canvas(id), 0, 0)
  if flag == '' or flag == 'x' then return end
  local status = redis.call('HGET', key_run(id), 'status')
  if flag == 'r' and (status == 'COMPLETED' or status == 'FAILED') then return end
  redis.call('ZADD', key_continuing(), now, id)
end

local function settle(id, waits, waited, batch, now)
  if waits then forget_waits(id) end
  redis.call('DEL', key_steps(id))
  if waited then
    wake_waiters(id, now)
    hand_on(id, now)
  end
  if batch then
    redis.call('SREM', key_batch_left(batch), id)
    count_batch(batch, now)
  end
  if waited == 'batch' then
    for _, other in ipairs(redis.call('SMEMBERS', key_counted(id))) do
      redis.call('SREM', key_batch_left(other), id)
      count_batch(other, now)
    end
    redis.call('DEL', key_counted(id))
  end
end
