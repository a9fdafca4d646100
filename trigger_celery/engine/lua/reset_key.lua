-- reset_key: takes an idempotency key from the run that has it: the next trigger makes a run.
-- KEYS  scope
-- ARGV  op_id key
-- REPLY ok | gone
-- TTL   idempotency key: 1 minute, in which a repeat of the call is known
-- INCLUDE clock
local now = clock()
local found = redis.call('GET', key_idem(key))
if found == '-' .. op_id then return 'ok' end
local f = found and redis.call('HMGET', key_run(found), 'idem', 'iuntil')
if not f or f[1] ~= key or tonumber(f[2]) <= now then return 'gone' end
redis.call('HDEL', key_run(found), 'idem', 'iuntil')
redis.call('SET', key_idem(key), '-' .. op_id, 'PX', 60000)
return 'ok'
