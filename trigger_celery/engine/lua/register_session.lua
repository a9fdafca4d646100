-- register_session: a worker says it is here: its lease, what it serves, the tasks and queues it
-- declares. The limit in code is the limit, unless it is overridden; a later declaration replaces it.
-- KEYS  scope
-- ARGV  session lease info serves direct tasks env_limit burst preset counts declarations...
--       serves: tokens of worker queues, parted by spaces. preset: '' or the default one, from a worker that takes runs of others. direct 1: takes single runs in its mailbox. tasks: ids parted by U+001F. burst: factor. counts: number of task
--       declarations; they come first: id, definition. Then queues: name, limit ('' none), gates,
--       size limit, other options as JSON ('' none each).
-- REPLY {names of tasks for which runs are parked}, {the same of queues}, 1 when what one queue may have of the environment changed
-- TTL   worker: 1 day after the last renewal
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE environment
local now = clock()
for wq in string.gmatch(serves, '%x+') do redis.call('SADD', key_worker_queues(), wq) end
if preset ~= '' then redis.call('HSET', key_env(), 'preset', preset) end
redis.call('ZADD', key_workers(), int(now + tonumber(lease)), session)
redis.call('HSET', key_worker(session), 'info', info, 'lease', lease, 'since', int(now),
  'serves', serves, 'direct', direct, 'tasks', '\31' .. tasks .. '\31')
redis.call('PEXPIRE', key_worker(session), 86400000)
local regated = declare_environment(env_limit, burst)
if redis.call('EXISTS', key_resuming_groups()) == 1 then
  regain_all(now)
  write_gathered()
end

-- A field of a hash, or none when the value is ''.
local function put(name, field, value)
  if value == '' then
    redis.call('HDEL', name, field)
  else
    redis.call('HSET', name, field, value)
  end
end

local function declare_queue(name, limit, gates, size, options)
  local q = token(name)
  local key = key_queue(q)
  redis.call('HSET', key_queues(), q, name)
  redis.call('HSET', key, 'name', name, 'declared', '1')
  redis.call('PERSIST', key)
  put(key, 'base', limit)
  put(key, 'gates', gates)
  put(key, 'size', size)
  put(key, 'options', options)
  if redis.call('HEXISTS', key, 'over') == 0 then put(key, 'limit', limit) end
  -- If this worker does not live to look at the lanes itself.
  if redis.call('EXISTS', key_lanes(q)) == 1 then
    redis.call('ZADD', key_timers(), 'NX', int(now + 1000), timer_look(q .. ':0'))
  end
end

-- Runs are released by this worker; if it does not live to do it, by a timer.
local parked = { {}, {} }
local function note_parked(kind, which, name, key)
  if redis.call('EXISTS', key) == 0 then return end
  table.insert(parked[which], name)
  redis.call('ZADD', key_timers(), 'NX', int(now + 1000), timer_release(kind .. ':' .. token(name)))
end

local split_at = declarations + 2 * tonumber(counts)
for i = declarations, split_at - 1, 2 do
  redis.call('HSET', key_tasks(), ARGV[i], ARGV[i + 1])
end
for i = split_at, #ARGV, 5 do
  declare_queue(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  note_parked('queue', 2, ARGV[i], key_parked_queue(token(ARGV[i])))
end
for id in string.gmatch(tasks, '[^\31]+') do
  note_parked('task', 1, id, key_parked(token(id)))
end
return { parked[1], parked[2], regated }
