-- Gives slots to runs that wait for one to go on, ahead of new work.
local function regain(q, k, now)
  local waiting = key_resuming(q, k)
  while room(q, k) > 0 and environment_room() > 0 do
    local id = redis.call('ZPOPMIN', waiting)[1]
    if not id then break end
    local f = redis.call('HMGET', key_run(id), 'status', 'owner', 'lane', 'created', 'n',
      'watch', 'post')
    if f[1] == 'QUEUED' and f[2] then
      local run = { id = id, before = f[1], created = f[4], n = f[5], watched = f[6] }
      redis.call('HDEL', key_run(id), 'resuming')
      resume(id, f[3], f[2], f[7], run, now, '-')
    end
  end
  if redis.call('EXISTS', waiting) == 0 then
    redis.call('ZREM', key_resuming_groups(), q .. ':' .. k)
    redis.call('ZREM', key_resuming_keys(q), k)
  end
end

-- The same for keys of one queue, those first that were looked at longest ago: 200 a call, as there
-- may be very many. It ends with the room that all of them share; then nothing is missed. Keys
-- beyond that have their turn when the next slot is free, or are found by the sweeper.
local function regain_queue(q, now)
  for _, k in ipairs(redis.call('ZRANGE', key_resuming_keys(q), 0, 199)) do
    if environment_room() <= 0 or room_of_queue(q) <= 0 then break end
    redis.call('ZADD', key_resuming_keys(q), now, k)
    regain(q, k, now)
  end
end

-- The same for every queue and key in turn, at most 20 of them a call.
local function regain_all(now)
  for _, group in ipairs(redis.call('ZRANGE', key_resuming_groups(), 0, 19)) do
    local q, k = string.match(group, '^(%x*):(%x*)$')
    redis.call('ZADD', key_resuming_groups(), now, group)
    regain(q, k, now)
  end
end
