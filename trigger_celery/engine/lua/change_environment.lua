-- change_environment: pauses or resumes the environment, overrides its limit or takes that back.
-- KEYS  scope
-- ARGV  action value by
--       action: pause | resume | override | reset. value: the limit. by: '' or who did it.
-- REPLY 1 when what one queue may have of the environment changed, else 0
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE environment
local now = clock()
if action == 'pause' then
  redis.call('HSETNX', key_env(), 'paused', now)
elseif action == 'resume' then
  redis.call('HDEL', key_env(), 'paused')
elseif action == 'override' then
  local f = redis.call('HMGET', key_env(), 'over', 'over_by')
  if f[1] ~= value or f[2] ~= by then
    redis.call('HSET', key_env(), 'over', value, 'over_at', now, 'over_by', by)
  end
else
  redis.call('HDEL', key_env(), 'over', 'over_at', 'over_by')
end
local regated = apply_environment()
for _, group in ipairs(redis.call('ZRANGE', key_resuming_groups(), 0, -1)) do
  local q, k = string.match(group, '^(%x*):(%x*)$')
  regain(q, k, now)
end
write_gathered()
for _, wq in ipairs(redis.call('SMEMBERS', key_worker_queues())) do
  if redis.call('EXISTS', key_ready(wq)) == 1 then wake(wq, 1) end
end
return regated
