-- claim_bulk: gives the caller a bulk action that nobody works on, for a time; the epoch fences.
-- KEYS  scope
-- ARGV  lease
-- REPLY {id, epoch, fields and values, runs to do next} | {}
-- TTL   none
-- INCLUDE clock
-- INCLUDE bulk_state
local now = clock()
local id = redis.call('ZRANGEBYSCORE', key_bulks_open(), '-inf', int(now), 'LIMIT', 0, 1)[1]
if not id then return {} end
redis.call('ZADD', key_bulks_open(), int(now + lease), id)
local epoch = redis.call('HINCRBY', key_bulk(id), 'epoch', 1)
return { id, epoch, redis.call('HGETALL', key_bulk(id)), planned(id) }
