-- refresh_lanes: after the limits of a queue changed or it was paused or resumed, offers its lanes
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
  regain_queue(q, clock())
  write_gathered()
end
local following = look_at_lanes(q, cursor)
if following == '0' then redis.call('ZREM', key_timers(), timer_look(q .. ':0')) end
return following
