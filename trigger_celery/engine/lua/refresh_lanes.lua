-- refresh_lanes: after the limit of a queue changed or it was paused or resumed, offers its lanes
-- that have room now and takes back those that have none. Walks the lanes of a queue by cursor.
-- KEYS  scope
-- ARGV  queue cursor
-- REPLY the next cursor, 0 at the end
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
local q = token(queue)
if cursor == '0' then
  regain_all(clock())
  write_gathered()
end
local found = redis.call('SSCAN', key_lanes(q), cursor, 'COUNT', 200)
for _, lane in ipairs(found[2]) do
  local wq, _, k = split(lane)
  if room(q, k) > 0 and redis.call('EXISTS', key_lane(lane)) == 1 then
    offer(lane, wq, q, k)
    wake(wq, 1)
  else
    redis.call('ZREM', key_ready(wq), lane)
  end
end
return found[1]
