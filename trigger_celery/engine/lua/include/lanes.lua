-- Lanes: the pending runs of one worker queue, queue and concurrency key, `wq:q:k` in tokens.
-- A lane stands among the ready lanes of its worker queue exactly when it has runs and room;
-- a full or paused lane is absent, so a dequeue never steps over it.
local function token(text)
  return string.sub(redis.sha1hex(text), 1, 20)
end

local function split(lane)
  return string.match(lane, '^(%x*):(%x*):(%x*)$')
end

-- The same lane in the worker queue where workers declared the task; a run may have been created
-- before any of them was there.
local function lane_of(task, lane)
  local known = redis.call('HGET', key_tasks(), task)
  local name = known and string.match(known, '^[^\31]*\31([^\31]*)')
  if not name then return lane end
  local _, q, k = split(lane)
  return token(name) .. ':' .. q .. ':' .. k
end

-- The record of a queue, read once a call: limit, paused, served, name, declared.
local records = {}
local function record(q)
  local f = records[q]
  if not f then
    f = redis.call('HMGET', key_queue(q), 'limit', 'paused', 'served', 'name', 'declared')
    records[q] = f
  end
  return f
end

-- Free slots of the lane: every concurrency key has the queue's whole limit to itself.
local function room(q, k)
  local f = record(q)
  if f[2] then return 0 end
  if not f[1] then return math.huge end
  return tonumber(f[1]) - redis.call('ZCARD', key_key_slots(q, k))
end

-- A lane that becomes ready starts one round behind the clock of its worker queue: a lane that
-- empties and refills all the time cannot overtake those that wait.
local function offer(lane, wq, q, k)
  if room(q, k) <= 0 then return end
  local vt = tonumber(redis.call('HGET', key_env(), 'vt:' .. wq) or '0')
  redis.call('ZADD', key_ready(wq), 'NX', int(vt + 1), lane)
end

local function post(session, message)
  redis.call('RPUSH', key_mailbox(session), message)
  redis.call('PEXPIRE', key_mailbox(session), 60000)
end

local function wake(wq, count)
  local found = redis.call('ZPOPMIN', key_idle(wq), count)
  for i = 1, #found, 2 do post(found[i], 'work') end
end

-- The record of a queue that nobody declares may have expired while its runs were delayed.
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
    redis.call('ZREM', key_ready(wq), lane)
  end
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
