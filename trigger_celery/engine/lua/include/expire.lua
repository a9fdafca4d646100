-- Ends a run that was not begun within its TTL: QUEUED -> EXPIRED.
-- INCLUDE seal
local function expire(id, retention, now)
  local f = redis.call('HMGET', key_run(id), 'status', 'lane', 'created', 'n', 'watch', 'attempt',
    'opts', 'waits', 'waited', 'batch')
  if f[1] ~= 'QUEUED' or tonumber(f[6] or '0') > 0 then return end
  local message = string.gsub(expiry, '%%s', cjson.decode(f[7]).ttl)
  redis.call('ZREM', key_timers(), id)
  withdraw(id, f[2])
  seal_with(id, message, retention, now)
  local run = { id = id, before = f[1], created = f[3], n = f[4], watched = f[5] }
  change(run, 'EXPIRED', now, 'finished', now)
  settle(id, f[8], f[9], f[10], now)
end
