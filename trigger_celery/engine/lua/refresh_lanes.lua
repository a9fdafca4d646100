-- refresh_lanes: after a limit was raised or a queue resumed, offers its lanes that have room
-- now. Walks the lanes of a queue by cursor.
-- KEYS  scope
-- ARGV  queue cursor
-- REPLY the next cursor, 0 at the end
-- TTL   none
-- INCLUDE clock
-- INCLUDE lanes
local q = token(queue)
local found = redis.call('SSCAN', key_lanes(q), cursor, 'COUNT', 200)
for _, lane in ipairs(found[2]) do
  local wq, _, k = split(lane)
  offer(lane, wq, q, k)
  wake(wq, 1)
end
return found[1]
