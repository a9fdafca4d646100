-- shorten_token: lets a token time out sooner than it was created to; never later.
-- KEYS  scope
-- ARGV  id timeout
--       timeout: ms from now.
-- REPLY 1 if it was shortened, else 0
-- TTL   none
-- INCLUDE clock
-- INCLUDE lanes
local now = clock()
local f = redis.call('HMGET', key_waitpoint(id), 'status', 'due')
local due = now + tonumber(timeout)
if f[1] ~= 'WAITING' or tonumber(f[2]) <= due then return 0 end
redis.call('HSET', key_waitpoint(id), 'due', int(due))
redis.call('ZADD', key_timers(), int(due), timer_waitpoint(id))
hurry(due, now)
return 1
