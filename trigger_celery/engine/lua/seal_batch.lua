-- seal_batch: all runs of a batch are created; it ends with the last of them.
-- KEYS  scope
-- ARGV  id
-- REPLY the batch's status, or gone
-- TTL   batch: run_retention + 7 days once ended
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE settle
local now = clock()
local status = redis.call('HGET', key_batch(id), 'status')
if not status then return 'gone' end
if status == 'PROCESSING' then
  redis.call('HSET', key_batch(id), 'sealed', '1')
  redis.call('ZREM', key_timers(), 'batch:' .. id)
  count_batch(id, now)
  write_gathered()
end
return redis.call('HGET', key_batch(id), 'status')
