-- unpark_runs: queues runs that waited for a task, or a queue, to be declared:
-- PENDING_VERSION -> QUEUED or DELAYED.
-- KEYS  scope
-- ARGV  kind name count
--       kind: task | queue.
-- REPLY number of runs looked at
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE unpark
local now = clock()
local parked = kind == 'task' and key_parked(token(name)) or key_parked_queue(token(name))
local looked = unpark(parked, tonumber(count), now)
if looked < tonumber(count) then
  redis.call('ZREM', key_timers(), timer_release(kind .. ':' .. token(name)))
end
return looked
