-- prune_runs: removes final runs, ended waitpoints and batches whose retention has passed, with
-- everything that names them.
-- KEYS  scope
-- ARGV  count
-- REPLY number removed
-- TTL   none
-- INCLUDE clock
-- INCLUDE lanes
local now = clock()
local function prune_run(id)
  local f = redis.call('HMGET', key_run(id), 'status', 'task', 'queue', 'tags')
  if f[1] then
    redis.call('ZREM', key_index_status(f[1]), id)
    redis.call('ZREM', key_index_task(token(f[2])), id)
    redis.call('ZREM', key_index_queue(token(f[3])), id)
    for tag in string.gmatch(f[4] or '', '[^\31]+') do
      redis.call('ZREM', key_index_tag(token(tag)), id)
    end
  end
  redis.call('DEL', key_run(id), key_payload(id), key_output(id), key_error(id),
    key_metadata(id), key_attempts(id), key_children(id), key_watch(id))
end

local due = redis.call('ZRANGEBYSCORE', key_retention(), '-inf', int(now), 'LIMIT', 0, count)
for _, id in ipairs(due) do
  local kind = string.match(id, '^%a+')
  if kind == 'waitpoint' then
    redis.call('DEL', key_waitpoint(id), key_waitpoint_output(id))
    redis.call('ZREM', key_tokens(), id)
  elseif kind == 'batch' then
    redis.call('DEL', key_batch(id), key_batch_runs(id), key_batch_left(id))
  else
    prune_run(id)
  end
  redis.call('ZREM', key_retention(), id)
end
return #due
