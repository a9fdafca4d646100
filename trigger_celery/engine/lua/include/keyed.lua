-- The run that has an idempotency key. One that ended badly, or whose time with the key has passed,
-- gives it away.
local function keyed_run(key, now)
  local found = redis.call('GET', key_idem(key))
  if not found then return nil end
  local f = redis.call('HMGET', key_run(found), 'status', 'idem', 'iuntil')
  if f[2] ~= key then return nil end
  local is_over = f[1] == 'FAILED' or f[1] == 'CRASHED' or f[1] == 'SYSTEM_FAILURE'
    or f[1] == 'TIMED_OUT' or f[1] == 'EXPIRED'
  if not is_over and tonumber(f[3]) > now then return found end
  redis.call('HDEL', key_run(found), 'idem', 'iuntil')
  return nil
end
