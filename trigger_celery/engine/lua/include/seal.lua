-- INCLUDE data
-- What a run that ends without an output leaves: its error, and the time when all of it goes.
local function seal_with(id, error, retention, now)
  local ttl = int(retention + 604800000)
  redis.call('ZADD', key_retention(), int(now + retention), id)
  redis.call('SET', key_error(id), error, 'PX', ttl)
  for _, name in ipairs({ key_run(id), key_payload(id), key_attempts(id), key_children(id) }) do
    redis.call('PEXPIRE', name, ttl)
  end
  all_data('PEXPIRE', id, ttl)
end
