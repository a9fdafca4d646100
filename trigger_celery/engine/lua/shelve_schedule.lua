-- shelve_schedule: a schedule that cannot be fired waits no more; its record says why.
-- KEYS  scope
-- ARGV  name gen problem
--       name: its key. gen: the generation that was read, '' when there was none.
-- REPLY ok | changed | paused: it only should not have waited
-- TTL   none
local f = redis.call('HMGET', name, 'gen', 'active', 'next', 'problem')
if (f[1] or '') ~= gen then return 'changed' end
redis.call('ZREM', key_redbeat_due(), name)
if f[2] == '0' and f[3] == '' and f[4] ~= problem then return 'paused' end
if gen ~= '' then redis.call('HSET', name, 'problem', problem, 'active', '0', 'next', '') end
return 'ok'
