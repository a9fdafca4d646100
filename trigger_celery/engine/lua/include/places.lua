-- Whether a run may be queued: workers declared its task and its queue, and the queue is not full.

-- What a queue is made by, besides workers: its task, or a trigger that gave it a limit.
local function is_queue_known(q, name, of_task)
  return record(q)[5] or name == 'task/' .. of_task
    or redis.call('HEXISTS', key_queue(q), 'base') == 1
end

-- Where runs wait for what nobody has declared yet; nil when all is known.
local function parking_of(q, name, of_task)
  if record(q)[5] and name == 'task/' .. of_task then return nil end
  if redis.call('HEXISTS', key_tasks(), of_task) == 0 then return key_parked(token(of_task)) end
  return not is_queue_known(q, name, of_task) and key_parked_queue(q) or nil
end

-- Places that are left of `size`. Counts the runs of a queue only if it may be full at all: when so
-- many runs are queued in the environment. Its lanes are fewer than its size then, and are counted
-- once for as many runs as it had places: `room` is what those that enter since then have left.
-- Runs that leave only make more room. A queue that stays full to its last places is counted each time.
local function places_left(q, parking, size, wanted)
  if parking then return size - redis.call('ZCARD', parking) end
  local queued = redis.call('ZCARD', key_index_status('QUEUED'))
  if queued + wanted <= size then return wanted end
  queued = redis.call('SCARD', key_lanes(q))
  if queued >= size then return 0 end
  local f = redis.call('HMGET', key_queue(q), 'room', 'room_of')
  if tonumber(f[2] or '-1') == size and tonumber(f[1]) >= wanted then return wanted end
  queued = 0
  for _, lane in ipairs(redis.call('SMEMBERS', key_lanes(q))) do
    queued = queued + redis.call('ZCARD', key_lane(lane))
  end
  if size - queued > wanted and redis.call('EXISTS', key_queue(q)) == 1 then
    redis.call('HSET', key_queue(q), 'room', int(size - queued), 'room_of', int(size))
    record(q)[8] = '0'
  end
  return size - queued
end

-- Several runs that are no batch are refused together. Those of a repeated call exist.
local function is_refused(left)
  local count = (#ARGV - items + 1) / 3
  if count == 1 or left >= count then return false end
  local fresh = 0
  for i = items, #ARGV, 3 do
    if redis.call('EXISTS', key_run(ARGV[i])) == 0 then fresh = fresh + 1 end
  end
  return fresh > left
end

-- An item of a batch that finds no place is kept by a run that has failed; returns its details.
-- RARE
local function turn_away(id, size, details)
  local message = "The queue '" .. queue .. "' is full: its size limit is " .. int(size) .. ' runs.'
  local code = 'QUEUE_SIZE_LIMIT_EXCEEDED'
  -- The batch may not be announced yet; sealing it makes errors of these.
  redis.call('HSET', key_batch(batch), 'full',
    (redis.call('HGET', key_batch(batch), 'full') or '') .. ' ' .. id)
  if redis.call('HEXISTS', key_batch(batch), 'status') == 0 then
    redis.call('PEXPIRE', key_batch(batch), 3600000)
  end
  local _, _, _, _, tags, metadata = parts_of(details)
  return cjson.encode({ type = 'INTERNAL_ERROR', code = code, message = message }),
    table.concat({ 'failed', '0', '0', 'application/json', tags, metadata }, '\30')
end

-- The record of a queue that nobody has declared lives on with its runs; the trigger may give it a
-- limit. Returns whether that makes it known.
local function keep_queue(q, known)
  local kind = 'queue'
  if not known[4] then
    redis.call('HSET', key_queue(q), 'name', queue)
    redis.call('HSET', key_queues(), q, queue)
  end
  local new = queue_limit ~= '' and redis.call('HSETNX', key_queue(q), 'base', queue_limit) == 1
  if new then
    redis.call('HSETNX', key_queue(q), 'limit', queue_limit)
    known[1] = known[1] or queue_limit
    if redis.call('EXISTS', key_parked_queue(q)) == 1 then
      redis.call('ZADD', key_timers(), now, timer_release(kind .. ':' .. q))
    end
  end
  redis.call('PEXPIRE', key_queue(q), int(tonumber(retention) + 604800000))
  return new
end
