-- create_runs: makes runs of one task, queued or delayed. A run id that exists is left alone, so
-- the call may be repeated; the run id is its operation id. A single run may be handed to an idle
-- session at once: EXECUTING. Runs made in a run are its children; those made after it was
-- canceled are canceled too.
-- KEYS  scope
-- ARGV  task declared worker_queue queue key max max_duration retention channel parent links path call batch items...
--       declared '0': queue, worker queue come from what workers declared, if they did.
--       channel: '' or where the end of these runs is announced.
--       max_duration: '' or ms. parent: '' or a run id; links: parent, root and depth parted by
--       U+001E. path, call: where in the parent, and what it asked for ('' when noted otherwise).
--       One item: id, mode (now | in | at | failed), delay ms, priority ms, packet type, payload,
--       tags parted by U+001F, metadata JSON. failed: its payload is the error it ends with.
-- REPLY per item the status the run was created with, or again
-- TTL   watch: 1 hour; run: none while not final, else run_retention + 7 days; queue record: run_retention + 7 days unless declared
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE take
-- INCLUDE deliver
-- INCLUDE seal
-- INCLUDE settle
-- INCLUDE adopt
local now, us = clock()

if declared == '0' then
  local known = redis.call('HGET', key_tasks(), task)
  local own_queue, own_worker_queue = 'task/' .. task, worker_queue
  if known then own_queue, own_worker_queue = string.match(known, '^([^\31]*)\31([^\31]*)') end
  if queue == '' then queue = own_queue end
  worker_queue = own_worker_queue
end

local q = token(queue)
local lane = token(worker_queue) .. ':' .. q .. ':' .. (key == '' and '' or token(key))
local known = record(q)
if not known[4] then
  redis.call('HSET', key_queue(q), 'name', queue)
  redis.call('HSET', key_queues(), q, queue)
end
if not known[5] then
  redis.call('PEXPIRE', key_queue(q), int(tonumber(retention) + 604800000))
end

local task_index = key_index_task(token(task))
local function index(id, tags)
  gather('ZADD', task_index, now, id)
  if queue ~= 'task/' .. task then gather('ZADD', key_index_queue(q), now, id) end
  for tag in string.gmatch(tags, '[^\31]+') do
    gather('ZADD', key_index_tag(token(tag)), now, id)
  end
end

local function due_at(mode, delay)
  if mode == 'in' then return now + tonumber(delay) end
  if mode == 'at' then return math.max(now, tonumber(delay)) end
  return now
end

local function first_status(mode, due)
  if mode == 'failed' then return 'SYSTEM_FAILURE' end
  return due > now and 'DELAYED' or 'QUEUED'
end

local function create(id, mode, delay, prio, ptype, payload, tags, metadata)
  local due = due_at(mode, delay)
  local status = first_status(mode, due)
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
  index(id, tags)
  announce(id, status, '1')
  if mode == 'failed' then
    seal_with(id, payload, tonumber(retention), now)
    if batch ~= '' then settle(id, nil, nil, batch, now) end
  end
  return status, due
end

local answers, entries, soonest = {}, {}, math.huge
for i = items, #ARGV, 8 do
  local id = ARGV[i]
  if redis.call('EXISTS', key_run(id)) == 1 then
    answers[#answers + 1] = 'again'
  else
    local status, due = create(unpack(ARGV, i, i + 7))
    answers[#answers + 1] = status
    if parent ~= '' then adopt(id, now) end
    if status == 'QUEUED' then
      entries[#entries + 1] = int(due - tonumber(ARGV[i + 3]))
      entries[#entries + 1] = id
    elseif status == 'DELAYED' then
      redis.call('ZADD', key_timers(), int(due), id)
      soonest = math.min(soonest, due)
    end
  end
end
if parent ~= '' then note_call() end
write_gathered()
if #entries == 2 then
  deliver(put_in(lane, entries), now, us)
elseif #entries > 0 then
  enqueue(lane, entries)
end
hurry(soonest, now)
return answers
