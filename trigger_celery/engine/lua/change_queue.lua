-- change_queue: pauses or resumes a queue, overrides its limit or goes back to that of the code.
-- Its lanes are looked at after it; if the caller does not live to do it, by a timer.
-- KEYS  scope
-- ARGV  queue action value by
--       action: pause | resume | override | reset. value: the limit. by: '' or who did it.
-- REPLY ok, or gone when there is no such queue
-- TTL   none
-- INCLUDE clock
-- INCLUDE records
local q = token(queue)
local key = key_queue(q)
if redis.call('HEXISTS', key, 'name') == 0 then return 'gone' end
local now = clock()
if action == 'pause' then
  redis.call('HSETNX', key, 'paused', now)
elseif action == 'resume' then
  redis.call('HDEL', key, 'paused')
elseif action == 'override' then
  local f = redis.call('HMGET', key, 'over', 'over_by')
  if f[1] ~= value or f[2] ~= by then
    redis.call('HSET', key, 'limit', value, 'over', value, 'over_at', now, 'over_by', by)
  end
else
  redis.call('HDEL', key, 'over', 'over_at', 'over_by')
  local base = redis.call('HGET', key, 'base')
  if base then redis.call('HSET', key, 'limit', base) else redis.call('HDEL', key, 'limit') end
end
redis.call('ZADD', key_timers(), 'NX', int(now + 1000), timer_look(q .. ':0'))
return 'ok'
