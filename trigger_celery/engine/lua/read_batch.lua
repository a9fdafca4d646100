-- read_batch: a batch and its runs, in the order of its items.
-- KEYS  scope
-- ARGV  id
-- REPLY {fields and values, run ids} | empty when unknown
-- TTL   none
local fields = redis.call('HGETALL', key_batch(id))
if #fields == 0 then return {} end
return { fields, redis.call('LRANGE', key_batch_runs(id), 0, -1) }
