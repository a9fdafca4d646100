-- create_batch: announces a batch with the ids of its runs, which are created after it. A batch
-- that is not sealed within 30 minutes is ABORTED.
-- KEYS  scope
-- ARGV  id retention parent errors runs...
--       parent: '' or the run that makes it. errors: '' or JSON of the items that could not be.
-- REPLY created | again
-- TTL   batch: run_retention + 7 days once ended
-- INCLUDE clock
local now = clock()
if redis.call('HEXISTS', key_batch(id), 'status') == 1 then return 'again' end
redis.call('HSET', key_batch(id), 'status', 'PROCESSING', 'created', now, 'retention', retention,
  'count', #ARGV - runs + 1)
redis.call('PERSIST', key_batch(id))
if parent ~= '' then redis.call('HSET', key_batch(id), 'parent', parent) end
if errors ~= '' then redis.call('HSET', key_batch(id), 'errors', errors) end
for i = runs, #ARGV, 500 do
  local last = math.min(i + 499, #ARGV)
  redis.call('RPUSH', key_batch_runs(id), unpack(ARGV, i, last))
  redis.call('SADD', key_batch_left(id), unpack(ARGV, i, last))
end
redis.call('ZADD', key_timers(), int(now + 1800000), timer_batch(id))
return 'created'
