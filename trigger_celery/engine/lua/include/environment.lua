-- The limit of the environment: that of the code (base) or what overrides it, times the burst factor.
-- If it may burst, one queue may have no more than the limit without the factor (cap).

-- Returns 1 when the cap changed: then every queue is bounded as a whole, or none any more.
local function apply_environment()
  local f = redis.call('HMGET', key_env(), 'base', 'over', 'burst', 'cap')
  local limit, factor = tonumber(f[2] or f[1]), tonumber(f[3] or '1')
  local cap = limit and factor > 1 and int(limit) or false
  if limit then
    redis.call('HSET', key_env(), 'limit', int(math.floor(limit * factor)))
  else
    redis.call('HDEL', key_env(), 'limit')
  end
  environment_read = nil
  if cap == f[4] then return 0 end
  if cap then redis.call('HSET', key_env(), 'cap', cap) else redis.call('HDEL', key_env(), 'cap') end
  local now = clock()
  for _, q in ipairs(redis.call('HKEYS', key_queues())) do
    redis.call('ZADD', key_timers(), 'NX', int(now + 1000), timer_look(q .. ':0'))
  end
  return 1
end

local function declare_environment(limit, factor)
  if limit == '' then
    redis.call('HDEL', key_env(), 'base')
  else
    redis.call('HSET', key_env(), 'base', limit)
  end
  redis.call('HSET', key_env(), 'burst', factor)
  return apply_environment()
end
