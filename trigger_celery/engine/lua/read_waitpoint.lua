-- read_waitpoint: a waitpoint with its output.
-- KEYS  scope
-- ARGV  id
-- REPLY {fields and values, output over 64 bytes or ''} | empty when unknown
-- TTL   none
local fields = redis.call('HGETALL', key_waitpoint(id))
if #fields == 0 then return {} end
return { fields, redis.call('GET', key_waitpoint_output(id)) or '' }
