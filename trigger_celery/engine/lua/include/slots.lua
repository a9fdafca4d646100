-- Slots are members, never counters: the run that holds one is in the set.
local function hold(id, lane, session, now)
  local _, q, k = split(lane)
  redis.call('ZADD', key_slots(), int(now), id)
  redis.call('ZADD', key_queue_slots(q), int(now), id)
  redis.call('ZADD', key_key_slots(q, k), int(now), id)
  redis.call('SADD', key_owned(session), id)
end

-- freed collects the lanes whose room changed.
local function release(id, lane, session, freed)
  local _, q, k = split(lane)
  redis.call('ZREM', key_slots(), id)
  redis.call('ZREM', key_queue_slots(q), id)
  redis.call('ZREM', key_key_slots(q, k), id)
  redis.call('SREM', key_owned(session), id)
  freed[q .. ':' .. k] = lane
end

-- Offers what the freed slots can run. A session that dequeues in the same call names its own
-- worker queues in `own` and needs no waking.
local function reoffer(freed, own)
  for _, lane in pairs(freed) do
    local _, q, k = split(lane)
    for wq in string.gmatch(redis.call('HGET', key_queue(q), 'served') or '', '%x+') do
      offer(wq .. ':' .. q .. ':' .. k, wq, q, k)
      if not string.find(own, wq, 1, true) and redis.call('EXISTS', key_ready(wq)) == 1 then
        wake(wq, 1)
      end
    end
  end
  if next(freed) and redis.call('HEXISTS', key_env(), 'limit') == 1 then
    for _, wq in ipairs(redis.call('SMEMBERS', key_worker_queues())) do
      if not string.find(own, wq, 1, true) and redis.call('EXISTS', key_ready(wq)) == 1 then
        wake(wq, 1)
      end
    end
  end
end
