-- How runs enter a lane and leave it unstarted.

-- The record of a queue that nobody declares may have expired while its runs were delayed.
-- RARE
local function rename(q, id)
  if record(q)[5] then return end
  local name = redis.call('HGET', key_run(id), 'queue')
  redis.call('HSET', key_queue(q), 'name', name)
  redis.call('HSET', key_queues(), q, name)
  redis.call('PEXPIRE', key_queue(q), 1209600000)
end

-- entries: score, id, score, id, … Returns the worker queue, whose sessions are not woken yet.
local function put_in(lane, entries)
  local wq, q, k = split(lane)
  local added = redis.call('ZADD', key_lane(lane), unpack(entries))
  local f = record(q)
  if f[8] then redis.call('HINCRBY', key_queue(q), 'room', -added) end
  if not string.find(f[3] or '', wq, 1, true) then
    f[3] = (f[3] or '') .. ' ' .. wq
    redis.call('HSET', key_queue(q), 'served', f[3])
    if redis.call('PTTL', key_queue(q)) == -1 then rename(q, entries[2]) end
  end
  -- A lane that had runs before is offered already, or has no room.
  if redis.call('ZCARD', key_lane(lane)) == added then
    redis.call('SADD', key_lanes(q), lane)
    offer(lane, wq, q, k)
  end
  return wq
end

local function enqueue(lane, entries)
  wake(put_in(lane, entries), #entries / 2)
end

-- Takes a run out of its lane before it started.
local function withdraw(id, lane)
  local wq, q = split(lane)
  redis.call('ZREM', key_lane(lane), id)
  if redis.call('EXISTS', key_lane(lane)) == 0 then
    redis.call('SREM', key_lanes(q), lane)
    take_out(lane, wq, q)
  end
end

-- Looks at 200 lanes of a queue, from the cursor on: those with room are offered, others taken out.
local function look_at_lanes(q, cursor)
  -- A rate that is new counts from now.
  if cursor == '0' then rate_room_of_queue(q) end
  local found = redis.call('SSCAN', key_lanes(q), cursor, 'COUNT', 200)
  for _, lane in ipairs(found[2]) do
    local wq, _, k = split(lane)
    if room_of_key(q, k) > 0 and redis.call('EXISTS', key_lane(lane)) == 1 then
      -- A queue may have become one that is bounded as a whole, or no longer be one.
      local g = gate(q)
      redis.call('ZREM', g and g.whole and key_ready(wq) or key_gated(wq, q), lane)
      offer(lane, wq, q, k)
      wake(wq, 1)
    else
      take_out(lane, wq, q)
    end
  end
  return found[1]
end
