-- prune_queues: forgets the names of queues whose record has expired and in which no run waits.
-- Walks the names by cursor.
-- KEYS  scope
-- ARGV  cursor
-- REPLY the next cursor, 0 at the end
-- TTL   none
local found = redis.call('HSCAN', key_queues(), cursor, 'COUNT', 500)
for i = 1, #found[2], 2 do
  local q = found[2][i]
  if redis.call('EXISTS', key_queue(q), key_lanes(q)) == 0 then
    redis.call('HDEL', key_queues(), q)
  end
end
return found[1]
