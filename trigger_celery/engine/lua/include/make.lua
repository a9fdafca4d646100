-- Makes the record of one run; the rest of what it needs are arguments of create_runs.
local task_index = key_index_task(token(task))

-- Fields and values of a record: first what all runs of the call share, then those of one run.
local fields, shared, last = {}, 0, 0
local function add(name, value)
  fields[last + 1], fields[last + 2] = name, value
  last = last + 2
end

local function share(lane, base, now, any_queue, fixed)
  add('task', task)
  add('queue', queue)
  add('lane', lane)
  if base then add('base', base) end
  add('created', now)
  add('n', '1')
  if key ~= '' then add('ckey', key) end
  if max ~= '' then add('max', max) end
  if max_duration ~= '' then add('maxdur', max_duration) end
  if links ~= '' then add('links', links) end
  if batch ~= '' then add('batch', batch) end
  if channel ~= '' then add('watch', 'end') end
  if any_queue then add('anyq', '1') end
  if fixed then add('fixed', '1') end
  shared = last
end

local function index(id, q, status, tags, now)
  gather('ZADD', key_index_status(status), now, id)
  gather('ZADD', task_index, now, id)
  if queue ~= 'task/' .. task then gather('ZADD', key_index_queue(q), now, id) end
  if tags == '' then return end
  for tag in string.gmatch(tags, '[^\31]+') do
    gather('ZADD', key_index_tag(token(tag)), now, id)
  end
end

local function parts_of(details)
  if details == '' then return 'now', '0', '0', 'application/json', '', '' end
  return string.match(details,
    '^([^\30]*)\30([^\30]*)\30([^\30]*)\30([^\30]*)\30([^\30]*)\30(.*)$')
end

local function due_at(mode, delay, now)
  if mode == 'in' then return now + tonumber(delay) end
  if mode == 'at' then return math.max(now, tonumber(delay)) end
  return now
end

local function first_status(mode, due, now, parking)
  if mode == 'failed' then return 'SYSTEM_FAILURE' end
  if parking then return 'PENDING_VERSION' end
  return due > now and 'DELAYED' or 'QUEUED'
end

-- INCLUDE own_options

-- The run of an item that could not be triggered ends as it is made.
-- RARE
local function end_at_once(id, error, now)
  seal_with(id, error, tonumber(retention), now)
  settle(id, nil, redis.call('HGET', key_run(id), 'waited'), batch ~= '' and batch, now)
end

-- options: nil or those of `admit`. parking: nil or where it waits for what is not declared yet.
-- former: nil or what `give_way` answers.
-- Returns the status, when the run is due, and its place in its lane.
local function make(q, now, id, payload, details, options, parking, former)
  local mode, delay, prio, ptype, tags, metadata = parts_of(details)
  local due = due_at(mode, delay, now)
  local status = first_status(mode, due, now, parking)
  last = shared
  add('status', status)
  add('queued', due)
  if prio ~= '0' then add('prio', prio) end
  if tags ~= '' then add('tags', tags) end
  if ptype ~= 'application/json' then add('ptype', ptype) end
  if due > now then add('due', int(due)) end
  if options then add_options(options, id, status, due, now) end
  if channel ~= '' then
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
  if metadata ~= '' then
    add('data', '1')
    redis.call('SET', key_metadata(id), metadata)
  end
  redis.call('HSET', key_run(id), unpack(fields, 1, last))
  index(id, q, status, tags, now)
  announce(id, status, former and former.n or '1', former and former.watch)
  if mode == 'failed' then end_at_once(id, payload, now) end
  return status, due, due - tonumber(prio)
end
