-- create_batch: announces a batch with the ids of its runs, which are created after it. A batch
-- that is not sealed within 30 minutes is ABORTED. With an idempotency key that another batch has,
-- that batch is the answer and nothing is made.
-- KEYS  scope
-- ARGV  id retention parent errors keyed runs...
--       parent: '' or the run that makes it. errors: '' or JSON of the items that could not be.
--       keyed: '' or an idempotency key's digest, its ms and its text, parted by U+001F.
-- REPLY {created | again | cached, batch id}
-- TTL   batch: run_retention + 7 days once ended; key: its ms
-- INCLUDE clock
local now = clock()
if redis.call('HEXISTS', key_batch(id), 'status') == 1 then return { 'again', id } end
local digest, ttl, text = string.match(keyed, '^(%x+)\31(%d+)\31(.*)$')
if digest then
  local found = redis.call('GET', key_batch_key(digest))
  local f = found and redis.call('HMGET', key_batch(found), 'status', 'key_until') or {}
  if f[1] and f[1] ~= 'ABORTED' and tonumber(f[2]) > now then
    -- It may count the run that asks, or one above it: who waits for it looks for a circle.
    redis.call('HSET', key_batch(found), 'shares', '1')
    return { 'cached', found }
  end
  redis.call('SET', key_batch_key(digest), id, 'PX', ttl)
  redis.call('HSET', key_batch(id), 'key', text, 'keyed', digest,
    'key_until', int(now + tonumber(ttl)))
end
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
return { 'created', id }
