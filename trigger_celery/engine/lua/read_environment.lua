-- read_environment: the limit of the environment, its parts, and how many runs execute and wait.
-- KEYS  scope
-- ARGV
-- REPLY {limit, base, override, when, by whom, burst factor, paused, running, queued}
-- TTL   none
local f = redis.call('HMGET', key_env(), 'limit', 'base', 'over', 'over_at', 'over_by', 'burst',
  'paused')
local reply = {}
for i = 1, 7 do reply[i] = f[i] or '' end
reply[8] = redis.call('ZCARD', key_slots())
reply[9] = redis.call('ZCARD', key_index_status('QUEUED'))
return reply
