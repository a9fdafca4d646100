-- register_session: a worker says it is here: its lease, what it serves, the tasks and queues it
-- declares. The limit in code is the limit; a later declaration replaces it.
-- KEYS  scope
-- ARGV  session lease info serves direct tasks env_limit counts declarations...
--       serves: names parted by U+001F. direct 1: takes single runs in its mailbox. tasks: ids parted by U+001F. counts: number of task
--       declarations; they come first: id, definition. Then queues: name, limit ('' none).
-- REPLY number of runs that were parked for one of the tasks
-- TTL   worker: 1 day after the last renewal
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
local now = clock()
local tokens = {}
for name in string.gmatch(serves, '[^\31]+') do
  tokens[#tokens + 1] = token(name)
  redis.call('SADD', key_worker_queues(), token(name))
end
redis.call('ZADD', key_workers(), int(now + tonumber(lease)), session)
redis.call('HSET', key_worker(session), 'info', info, 'lease', lease, 'since', int(now),
  'serves', table.concat(tokens, ' '), 'direct', direct, 'tasks', '\31' .. tasks .. '\31')
redis.call('PEXPIRE', key_worker(session), 86400000)
if env_limit == '' then
  redis.call('HDEL', key_env(), 'limit')
else
  redis.call('HSET', key_env(), 'limit', env_limit)
end
if redis.call('EXISTS', key_resuming_groups()) == 1 then
  regain_all(now)
  write_gathered()
end

local split_at = declarations + 2 * tonumber(counts)
for i = declarations, split_at - 1, 2 do
  redis.call('HSET', key_tasks(), ARGV[i], ARGV[i + 1])
end
for i = split_at, #ARGV, 2 do
  local q = token(ARGV[i])
  redis.call('HSET', key_queues(), q, ARGV[i])
  redis.call('HSET', key_queue(q), 'name', ARGV[i], 'declared', '1')
  redis.call('PERSIST', key_queue(q))
  if ARGV[i + 1] == '' then
    redis.call('HDEL', key_queue(q), 'limit')
  else
    redis.call('HSET', key_queue(q), 'limit', ARGV[i + 1])
  end
end

local parked = 0
for id in string.gmatch(tasks, '[^\31]+') do
  parked = parked + redis.call('ZCARD', key_parked(token(id)))
end
return parked
