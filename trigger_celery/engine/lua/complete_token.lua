-- complete_token: ends a token with a result. The first ending wins: a later one, or one after the
-- timeout, changes nothing.
-- KEYS  scope
-- ARGV  id ptype data retention
-- REPLY {ok | ended, status} | {gone, ''}
-- TTL   waitpoint: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE complete
local now = clock()
local f = redis.call('HMGET', key_waitpoint(id), 'status', 'type')
if not f[1] or f[2] ~= 'TOKEN' then return { 'gone', '' } end
if f[1] ~= 'WAITING' then return { 'ended', f[1] } end
complete(id, 'COMPLETED', ptype, data, tonumber(retention), now)
write_gathered()
return { 'ok', 'COMPLETED' }
