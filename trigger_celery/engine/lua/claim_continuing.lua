-- claim_continuing: gives the caller final runs whose callbacks, chains and chords go on, for a time.
-- Whoever dies over it leaves them to the next: a callback may be sent twice, under the same task id.
-- KEYS  scope
-- ARGV  count lease
-- REPLY {id, what Celery says of it, …}
-- TTL   none
-- INCLUDE clock
local now = clock()
local found = {}
local due = redis.call('ZRANGEBYSCORE', key_continuing(), '-inf', int(now), 'LIMIT', 0, count)
for _, id in ipairs(due) do
  local text = redis.call('GET', key_canvas(id))
  if text then
    redis.call('ZADD', key_continuing(), int(now + lease), id)
    found[#found + 1] = id
    found[#found + 1] = text
  else
    redis.call('ZREM', key_continuing(), id)
  end
end
return found
