-- Slots are members, never counters: the run that holds one is in the set.

-- ids: runs of one lane, from `first` on.
local function hold(ids, first, q, k, session, now)
  local members = {}
  for i = first, #ids do
    members[#members + 1] = now
    members[#members + 1] = ids[i]
  end
  if #members == 0 then return end
  redis.call('ZADD', key_slots(), unpack(members))
  redis.call('ZADD', key_queue_slots(q), unpack(members))
  redis.call('ZADD', key_key_slots(q, k), unpack(members))
  redis.call('SADD', key_owned(session), unpack(ids, first))
end

-- freed collects the lanes whose room changes; reoffer looks at them when that is written. A run
-- that keeps its owner while it waits names no session.
local function release(id, lane, session, freed)
  local _, q, k = split(lane)
  gather('ZREM', key_slots(), id)
  gather('ZREM', key_queue_slots(q), id)
  gather('ZREM', key_key_slots(q, k), id)
  if session then gather('SREM', key_owned(session), id) end
  freed[q .. ':' .. k] = lane
end

-- INCLUDE waits
-- INCLUDE regain

-- Slots that became free go to runs that wait for one to go on, before anything new.
-- RARE
local function give_slots(freed, limited, now)
  if limited then regain_all(now) end
  for _, lane in pairs(freed) do
    local _, q, k = split(lane)
    local g = gate(q)
    if g and g.whole then regain_queue(q, now) else regain(q, k, now) end
  end
  write_gathered()
end

-- Writes what is gathered, and offers what the freed slots can run. A session that dequeues in the
-- same call names its own worker queues in `own` and needs no waking.
local function reoffer(freed, own, now)
  write_gathered()
  local limited = next(freed) and environment()[1]
  if next(freed) and redis.call('EXISTS', key_resuming_groups()) == 1 then
    give_slots(freed, limited, now)
  end
  for _, lane in pairs(freed) do
    local _, q, k = split(lane)
    local g = gate(q)
    for wq in string.gmatch(record(q)[3] or '', '%x+') do
      local other = wq .. ':' .. q .. ':' .. k
      -- Without a limit the lane was never full.
      local pending = record(q)[1] and redis.call('EXISTS', key_lane(other)) == 1
      if pending then offer(other, wq, q, k) end
      if g then open_gate(wq, q) end
      if pending or (g and g.whole) then
        if not string.find(own, wq, 1, true) and redis.call('EXISTS', key_ready(wq)) == 1 then
          wake(wq, 1)
        end
      end
    end
  end
  if limited then
    for _, wq in ipairs(redis.call('SMEMBERS', key_worker_queues())) do
      if not string.find(own, wq, 1, true) and redis.call('EXISTS', key_ready(wq)) == 1 then
        wake(wq, 1)
      end
    end
  end
end
