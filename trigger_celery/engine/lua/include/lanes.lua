-- Lanes: the pending runs of one worker queue, queue and concurrency key, `wq:q:k` in tokens.
-- A lane stands among the ready lanes of its worker queue exactly when it has runs and room;
-- a full, paused or rate limited lane is absent, so a dequeue never steps over it.
-- The lanes of a queue that is bounded as a whole stand in a set of their own, and the queue stands
-- among the ready lanes for all of them: when it is full, that is one entry to take out, not one a key.
-- INCLUDE records
-- INCLUDE rates
local function post(session, message)
  redis.call('RPUSH', key_mailbox(session), message)
  redis.call('PEXPIRE', key_mailbox(session), 60000)
end

local function wake(wq, count)
  local found = redis.call('ZPOPMIN', key_idle(wq), count)
  for i = 1, #found, 2 do post(found[i], 'work') end
end

-- A timer that is due sooner than the workers look by themselves needs one of them told: once a
-- call, for the soonest.
local function hurry(due, now)
  if due - now < 1500 then
    for _, session in ipairs(redis.call('ZREVRANGE', key_workers(), 0, 0)) do
      post(session, 'timer')
    end
  end
end

-- What a rate holds back comes again at its time: one timer a lane, or for the whole queue.
local soonest_hurry = math.huge
local function come_again(timer, due)
  redis.call('ZADD', key_timers(), int(due), timer)
  if due < soonest_hurry then
    soonest_hurry = due
    hurry(due, (clock()))
  end
end

-- The starts that the rates of the key, or of the queue, allow now; if none, it comes again.
-- RARE
local function rate_room_of_key(lane, q, k)
  local g = gate(q)
  if not (g and g.key_every) then return math.huge end
  local left, due = rate_left(key_key_rate(q, k), g.key_every, g.key_burst)
  if left <= 0 then come_again(timer_lane(lane), due) end
  return left
end

-- RARE
local function rate_room_of_queue(q)
  local g = gate(q)
  if not (g and g.every) then return math.huge end
  local left, due = rate_left(key_rate(q), g.every, g.burst)
  if left <= 0 then come_again(timer_gate(q), due) end
  return left
end

-- Puts the queue among the ready lanes if it has lanes and room.
-- RARE
local function open_gate(wq, q, score)
  if redis.call('EXISTS', key_gated(wq, q)) == 0 then return end
  if room_of_queue(q) <= 0 or rate_room_of_queue(q) <= 0 then return end
  score = score or tonumber(redis.call('HGET', key_env(), 'vt:' .. wq) or '0') + 1
  redis.call('ZADD', key_ready(wq), 'NX', int(score), q)
end

-- A lane that becomes ready starts one round behind the clock of its worker queue: a lane that
-- empties and refills all the time cannot overtake those that wait.
local function offer(lane, wq, q, k)
  if room_of_key(q, k) <= 0 then return end
  local e = redis.call('HMGET', key_env(), 'limit', 'cap', 'paused', 'vt:' .. wq)
  environment_read = environment_read or e
  local next_round = tonumber(e[4] or '0') + 1
  local g = gate(q)
  if not g then
    redis.call('ZADD', key_ready(wq), 'NX', int(next_round), lane)
  elseif rate_room_of_key(lane, q, k) > 0 then
    if g.whole then
      local first = redis.call('ZRANGE', key_gated(wq, q), 0, 0, 'WITHSCORES')[2]
      redis.call('ZADD', key_gated(wq, q), 'NX', int(tonumber(first or '0') + 1), lane)
      open_gate(wq, q, next_round)
    else
      redis.call('ZADD', key_ready(wq), 'NX', int(next_round), lane)
    end
  end
end

-- Takes a lane out that has no runs or no room. An entry of its queue that is left for nothing goes
-- when it is looked at.
-- RARE
local function take_out(lane, wq, q)
  redis.call('ZREM', key_ready(wq), lane)
  if not gate(q) then return end
  redis.call('ZREM', key_gated(wq, q), lane)
  if redis.call('EXISTS', key_gated(wq, q)) == 0 then redis.call('ZREM', key_ready(wq), q) end
end
-- INCLUDE entering
