-- Makes the record of one run; the rest of what it needs are arguments of create_runs.
local task_index = key_index_task(token(task))
local function index(id, q, tags, now)
  gather('ZADD', task_index, now, id)
  if queue ~= 'task/' .. task then gather('ZADD', key_index_queue(q), now, id) end
  for tag in string.gmatch(tags, '[^\31]+') do
    gather('ZADD', key_index_tag(token(tag)), now, id)
  end
end

local function due_at(mode, delay, now)
  if mode == 'in' then return now + tonumber(delay) end
  if mode == 'at' then return math.max(now, tonumber(delay)) end
  return now
end

local function first_status(mode, due, now)
  if mode == 'failed' then return 'SYSTEM_FAILURE' end
  return due > now and 'DELAYED' or 'QUEUED'
end

local function make(lane, now, id, mode, delay, prio, ptype, payload, tags, metadata)
  local due = due_at(mode, delay, now)
  local status = first_status(mode, due, now)
  local fields = {
    'status', status, 'task', task, 'queue', queue, 'lane', lane,
    'created', now, 'queued', due, 'n', '1',
  }
  local function add(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  if key ~= '' then add('ckey', key) end
  if max ~= '' then add('max', max) end
  if max_duration ~= '' then add('maxdur', max_duration) end
  if links ~= '' then add('links', links) end
  if batch ~= '' then add('batch', batch) end
  if prio ~= '0' then add('prio', prio) end
  if tags ~= '' then add('tags', tags) end
  if ptype ~= 'application/json' then add('ptype', ptype) end
  if status == 'DELAYED' then add('due', int(due)) end
  if channel ~= '' then
    add('watch', 'end')
    redis.call('SADD', key_watch(id), channel)
    redis.call('PEXPIRE', key_watch(id), 3600000)
  end
  if mode == 'failed' then
    add('finished', now)
  elseif #payload <= 64 then
    add('payload', payload)
  else
    redis.call('SET', key_payload(id), payload)
  end
  if metadata ~= '' then redis.call('SET', key_metadata(id), metadata) end
  redis.call('HSET', key_run(id), unpack(fields))
  gather('ZADD', key_index_status(status), now, id)
  local _, q = split(lane)
  index(id, q, tags, now)
  announce(id, status, '1')
  if mode == 'failed' then
    seal_with(id, payload, tonumber(retention), now)
    if batch ~= '' then settle(id, nil, nil, batch, now) end
  end
  return status, due
end
