-- remove_schedule: removes a schedule with all that names it, unless its generation is not the given.
-- KEYS  scope
-- ARGV  id gen key kept
--       key: as in put_schedule. kept: '' or for how long (ms) the record stays, in case that the
--       code declares it again.
-- REPLY ok | changed
-- TTL   redbeat: kept
-- INCLUDE records
local name = key_redbeat(id)
local f = redis.call('HMGET', name, 'gen', 'task', 'gone', 'by')
if f[1] and f[1] ~= gen then return 'changed' end
redis.call('ZREM', key_redbeat_due(), name)
redis.call('ZREM', key_schedules(), id)
if f[2] then redis.call('ZREM', key_index_schedule(token(f[2])), id) end
if f[4] then redis.call('ZREM', key_index_schedule(f[4]), id) end
if key ~= '' and redis.call('HGET', key_schedule_keys(), key) == id then
  redis.call('HDEL', key_schedule_keys(), key)
end
if not f[1] or f[3] then return 'ok' end
if kept == '' then
  redis.call('DEL', name)
else
  redis.call('HSET', name, 'gone', '1')
  redis.call('PEXPIRE', name, kept)
end
return 'ok'
