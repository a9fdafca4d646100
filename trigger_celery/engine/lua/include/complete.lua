-- Ends a waitpoint: COMPLETED or TIMED_OUT. The first ending wins. data: nil for none.
local function complete(id, status, ptype, data, retention, now)
  local ttl = int(retention + 604800000)
  redis.call('HSET', key_waitpoint(id), 'status', status, 'completed', now)
  if ptype ~= 'application/json' then redis.call('HSET', key_waitpoint(id), 'otype', ptype) end
  if data and #data > 64 then
    redis.call('SET', key_waitpoint_output(id), data, 'PX', ttl)
  elseif data then
    redis.call('HSET', key_waitpoint(id), 'output', data)
  end
  redis.call('PEXPIRE', key_waitpoint(id), ttl)
  redis.call('ZADD', key_retention(), int(now + retention), id)
  redis.call('ZREM', key_timers(), timer_waitpoint(id))
  wake_waiters(id, now)
end
