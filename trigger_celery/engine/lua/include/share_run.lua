-- A run that several batches count: an item of another batch, or an earlier item, had its key.
-- It takes the place of the run that the item would have made.
local function count_too(found, id, at)
  local place = redis.call('LINDEX', key_batch_runs(batch), at)
  if place ~= id then return end
  redis.call('LSET', key_batch_runs(batch), at, found)
  redis.call('SREM', key_batch_left(batch), id)
  local f = redis.call('HMGET', key_run(found), 'status', 'batch')
  if FINAL[f[1]] then return end
  redis.call('SADD', key_batch_left(batch), found)
  redis.call('HSET', key_batch(batch), 'shares', '1')
  if f[2] == batch then return end
  redis.call('SADD', key_counted(found), batch)
  redis.call('HSET', key_run(found), 'waited', 'batch')
end
