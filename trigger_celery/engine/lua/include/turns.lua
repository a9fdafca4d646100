-- Whose turn it is: the lane, or the queue for its lanes, with the lowest virtual time.

-- What one of several lanes may take at once.
local function share_of(want, lanes)
  if want <= 1 then return want end
  return math.max(1, math.floor(want / (redis.call('ZCARD', lanes) + 1)))
end

-- lanes: the set in which the lane stood. Does not look at what bounds the queue as a whole.
local function take_lane(lane, vt, want, lanes, session, start, now, us, runs, ids, told)
  local wq, q, k = split(lane)
  local g = gate(q)
  local free = room_of_key(q, k)
  if g and g.key_every then free = math.min(free, rate_room_of_key(lane, q, k)) end
  local count = math.min(share_of(want, lanes), free)
  if count <= 0 then return end
  local found = redis.call('ZPOPMIN', key_lane(lane), count)
  local first = #ids + 1
  for i = 1, #found, 2 do
    local run = grant(found[i], session, start, now, us, told)
    if run then
      runs[#runs + 1] = run
      ids[#ids + 1] = found[i]
    end
  end
  hold(ids, first, q, k, session, now)
  local taken = #ids - first + 1
  if g and g.key_every and taken > 0 then
    rate_spend(key_key_rate(q, k), g.key_every, g.key_burst, taken)
  end
  if #found < 2 * count or redis.call('EXISTS', key_lane(lane)) == 0 then
    redis.call('SREM', key_lanes(q), lane)
  elseif free > taken or (g and room_of_key(q, k) > 0 and rate_room_of_key(lane, q, k) > 0) then
    redis.call('ZADD', lanes, int(tonumber(vt) + math.max(taken, 1)), lane)
  end
end

-- Takes from the lanes of a queue that is bounded as a whole, in their turns.
-- RARE
local function take_queue(q, vt, want, wq, session, start, now, us, runs, ids, told)
  local g, lanes, before = gate(q), key_gated(wq, q), #ids
  local most = math.min(share_of(want, key_ready(wq)), room_of_queue(q), rate_room_of_queue(q))
  while #ids - before < most do
    local popped = redis.call('ZPOPMIN', lanes)
    if not popped[1] then break end
    local left = most - (#ids - before)
    take_lane(popped[1], popped[2], left, lanes, session, start, now, us, runs, ids, told)
  end
  local taken = #ids - before
  if g and g.every and taken > 0 then rate_spend(key_rate(q), g.every, g.burst, taken) end
  open_gate(wq, q, tonumber(vt) + math.max(taken, 1))
end

-- Takes from the first of the ready lanes, or queues. False: there is none.
local function take_next(wq, want, ...)
  local popped = redis.call('ZPOPMIN', key_ready(wq))
  local name, vt = popped[1], popped[2]
  if not name then return false end
  redis.call('HSET', key_env(), 'vt:' .. wq, vt)
  local _, q, k = split(name)
  if not q then
    take_queue(name, vt, want, wq, ...)
  else
    local g = gate(q)
    -- A lane from before its queue was bounded as a whole.
    if g and g.whole then
      offer(name, wq, q, k)
    else
      take_lane(name, vt, want, key_ready(wq), ...)
    end
  end
  return true
end
