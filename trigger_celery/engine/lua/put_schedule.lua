-- put_schedule: stores a schedule as its caller has worked it out from what it read, unless it has
-- changed since: then nothing is stored.
-- KEYS  scope
-- ARGV  op_id id key by gen next fields...
--       key: '' or a deduplication key, as a token. by: '' or by-<token> of the app that declares
--       it. gen: the generation that was read, '' when there was none. next: '' while it is paused, the next
--       occurrence (ms), or same: that for which it waits now. fields: name, value, ...; '' removes one.
-- REPLY {created | updated, fields and values} | {changed}
-- TTL   none
-- INCLUDE clock
-- INCLUDE records
local now = clock()
local name = key_redbeat(id)
local f = redis.call('HMGET', name, 'gen', 'task', 'put', 'by', 'next')
if f[3] and string.sub(f[3], 1, #op_id + 1) == op_id .. ' ' then
  return { string.sub(f[3], #op_id + 2), redis.call('HGETALL', name) }
end
if (f[1] or '') ~= gen then return { 'changed' } end
-- It was set aside meanwhile.
if next == 'same' and (f[5] or '') == '' then return { 'changed' } end
if key ~= '' then
  local owner = redis.call('HGET', key_schedule_keys(), key)
  if owner and owner ~= id and redis.call('EXISTS', key_redbeat(owner)) == 1 then
    return { 'changed' }
  end
  redis.call('HSET', key_schedule_keys(), key, id)
end

if next == 'same' then next = f[5] end
local word = gen == '' and 'created' or 'updated'
local removed = {}
redis.call('HSET', name, 'gen', int(tonumber(f[1] or '0') + 1), 'put', op_id .. ' ' .. word,
  'updated', now, 'next', next)
for i = fields, #ARGV, 2 do
  if ARGV[i + 1] ~= '' then
    redis.call('HSET', name, ARGV[i], ARGV[i + 1])
  else
    removed[#removed + 1] = ARGV[i]
  end
end
redis.call('HDEL', name, 'problem', 'gone', unpack(removed))
redis.call('HSETNX', name, 'created', now)
redis.call('PERSIST', name)

local created, task = redis.call('HGET', name, 'created'), redis.call('HGET', name, 'task')
redis.call('ZADD', key_schedules(), created, id)
if f[2] and f[2] ~= task then redis.call('ZREM', key_index_schedule(token(f[2])), id) end
redis.call('ZADD', key_index_schedule(token(task)), created, id)
if f[4] and f[4] ~= by then redis.call('ZREM', key_index_schedule(f[4]), id) end
if by ~= '' then
  redis.call('HSET', name, 'by', by)
  redis.call('ZADD', key_index_schedule(by), created, id)
end
if next == '' then
  redis.call('ZREM', key_redbeat_due(), name)
else
  redis.call('ZADD', key_redbeat_due(), string.format('%.3f', tonumber(next) / 1000), name)
end
return { word, redis.call('HGETALL', name) }
