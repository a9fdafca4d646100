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
  end
end

-- The same for every key of one queue.
local function regain_queue(queue, now)
  for _, group in ipairs(redis.call('ZRANGE', key_resuming_groups(), 0, -1)) do
    local q, k = string.match(group, '^(%x*):(%x*)$')
    if q == queue then regain(q, k, now) end
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
