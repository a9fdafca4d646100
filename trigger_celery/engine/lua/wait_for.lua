-- wait_for: notes a durable call of a run and what it waits for: ready at once, or an edge. With
-- `park` the run gives its slot back in the same step: EXECUTING -> WAITING.
-- KEYS  scope
-- ARGV  run_id epoch path call target post_to park rests
--       call: what the run asks for, compared when it is replayed. target: '' or the id of a
--       waitpoint, a run or a batch. post_to: '' or the run's own mailbox. park: 1 or 0.
--       rests: see include/rests.lua.
-- REPLY {ready | waiting | parked | stale | unknown | full} | {mismatch, what it asked before}
--       | {cycle, chain of run ids}
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE keep
-- INCLUDE rests
local now = clock()
local f = redis.call('HMGET', key_run(run_id), 'status', 'epoch', 'lane', 'created', 'n', 'watch',
  'owner', 'post', 'resuming')
if f[2] ~= epoch or not (f[1] == 'EXECUTING' or f[1] == 'WAITING' or f[9]) then
  return { 'stale' }
end

local function record_of()
  local kind = string.match(target, '^%a+')
  if kind == 'run' then return key_run(target) end
  return kind == 'batch' and key_batch(target) or key_waitpoint(target)
end

-- The runs that this one would wait for: a batch may count runs that it did not make.
local function aims_of()
  local kind = string.match(target, '^%a+')
  if kind == 'run' then return { [target] = true } end
  if kind ~= 'batch' or not redis.call('HGET', key_batch(target), 'shares') then return nil end
  local aims = {}
  for _, id in ipairs(redis.call('SMEMBERS', key_batch_left(target))) do aims[id] = true end
  return aims
end

-- The runs from this one up to an aim, each waiting for the one before it or for its batch; nil
-- when no aim waits for this run. Looks at no more than 1,000 waiting runs.
local function chain_of_waits(aims)
  local from, order = { [run_id] = run_id }, { run_id }
  local aim = aims[run_id] and run_id
  local function look_at(waited, id)
    for _, above in ipairs(redis.call('SMEMBERS', key_waiters(waited))) do
      if not from[above] then
        from[above] = id
        order[#order + 1] = above
        if aims[above] then aim = aim or above end
      end
    end
  end
  for i = 1, 1000 do
    local id = order[i]
    if not id or aim then break end
    look_at(id, id)
    local f = redis.call('HMGET', key_run(id), 'batch', 'waited')
    if f[1] then look_at(f[1], id) end
    if f[2] == 'batch' then
      for _, batch in ipairs(redis.call('SMEMBERS', key_counted(id))) do look_at(batch, id) end
    end
  end
  if not aim then return nil end
  local chain, id = { aim }, aim
  while id ~= run_id do
    id = from[id]
    table.insert(chain, 1, id)
  end
  return table.concat(chain, ' ')
end

local function note()
  local before = redis.call('HGET', key_calls(run_id), path)
  if before then return before == call and '' or before end
  if redis.call('HLEN', key_calls(run_id)) >= MAX_CALLS then return nil end
  redis.call('HSET', key_calls(run_id), path, call)
  redis.call('HSET', key_run(run_id), 'waits', '1')
  return ''
end

local aims = aims_of()
local cycle = aims and chain_of_waits(aims)
if cycle then return { 'cycle', cycle } end
local status = target ~= '' and redis.call('HGET', record_of(), 'status')
if target ~= '' and not status then return { 'unknown' } end
local noted = note()
if not noted then return { 'full' } end
if noted ~= '' then return { 'mismatch', noted } end
if target ~= '' then keep(target, record_of(), run_id) end
if target == '' or not (status == 'WAITING' and string.sub(target, 1, 4) == 'wait'
  or status == 'PROCESSING' or (string.sub(target, 1, 4) == 'run_' and not FINAL[status])) then
  -- Of a call that is sent again after the run was parked by it: the run is told when it may go on.
  local told = f[9] or (f[1] == 'WAITING' and redis.call('SISMEMBER', key_waiting(run_id), target) == 1)
  return { told and park == '1' and 'parked' or 'ready' }
end
if post_to ~= (f[8] or '') then
  if post_to == '' then
    redis.call('HDEL', key_run(run_id), 'post')
  else
    redis.call('HSET', key_run(run_id), 'post', post_to)
  end
end
redis.call('SADD', key_waiters(target), run_id)
redis.call('SADD', key_waiting(run_id), target)
if string.sub(target, 1, 4) == 'run_' then redis.call('HSETNX', key_run(target), 'waited', '1') end
if park ~= '1' then return { 'waiting' } end
if f[1] ~= 'EXECUTING' then return { 'parked' } end
note_rests(rests)
local freed = {}
release(run_id, f[3], nil, freed)
change({ id = run_id, before = f[1], created = f[4], n = f[5], watched = f[6] }, 'WAITING', now)
reoffer(freed, '', now)
return { 'parked' }
