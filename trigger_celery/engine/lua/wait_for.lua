-- wait_for: notes a durable call of a run and what it waits for: ready at once, or an edge. With
-- `park` the run gives its slot back in the same step: EXECUTING -> WAITING.
-- KEYS  scope
-- ARGV  run_id epoch path call target post_to park
--       call: what the run asks for, compared when it is replayed. target: '' or the id of a
--       waitpoint, a run or a batch. post_to: '' or the run's own mailbox. park: 1 or 0.
-- REPLY {ready | waiting | parked | stale | unknown | full} | {mismatch, what it asked before}
--       | {cycle, chain of run ids}
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
local now = clock()
local MAX_CALLS = 10000
local f = redis.call('HMGET', key_run(run_id), 'status', 'epoch', 'lane', 'created', 'n', 'watch',
  'owner', 'post')
if f[2] ~= epoch or (f[1] ~= 'EXECUTING' and f[1] ~= 'WAITING') then return { 'stale' } end

-- The target's status: false when there is no such thing.
local function status_of()
  local kind = string.match(target, '^%a+')
  if kind == 'run' then return redis.call('HGET', key_run(target), 'status') end
  if kind == 'batch' then return redis.call('HGET', key_batch(target), 'status') end
  return redis.call('HGET', key_waitpoint(target), 'status')
end

-- The runs from this one up to the target, when the target waits for this one.
local function ancestry()
  local chain, id = { run_id }, run_id
  for _ = 1, 200 do
    if id == target then return table.concat(chain, ' ') end
    local links = redis.call('HGET', key_run(id), 'links')
    id = links and string.match(links, '^[^\30]+')
    if not id then return nil end
    chain[#chain + 1] = id
  end
end

local function note()
  local before = redis.call('HGET', key_calls(run_id), path)
  if before then return before == call and '' or before end
  if redis.call('HLEN', key_calls(run_id)) >= MAX_CALLS then return nil end
  redis.call('HSET', key_calls(run_id), path, call)
  redis.call('HSET', key_run(run_id), 'waits', '1')
  return ''
end

local cycle = string.sub(target, 1, 4) == 'run_' and ancestry()
if cycle then return { 'cycle', cycle } end
local status = target ~= '' and status_of()
if target ~= '' and not status then return { 'unknown' } end
local noted = note()
if not noted then return { 'full' } end
if noted ~= '' then return { 'mismatch', noted } end
if target == '' or not (status == 'WAITING' and string.sub(target, 1, 4) == 'wait'
  or status == 'PROCESSING' or (string.sub(target, 1, 4) == 'run_' and not FINAL[status])) then
  return { 'ready' }
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
if string.sub(target, 1, 4) == 'run_' then redis.call('HSET', key_run(target), 'waited', '1') end
if park ~= '1' then return { 'waiting' } end
if f[1] == 'WAITING' then return { 'parked' } end
local freed = {}
release(run_id, f[3], nil, freed)
change({ id = run_id, before = f[1], created = f[4], n = f[5], watched = f[6] }, 'WAITING', now)
reoffer(freed, '', now)
return { 'parked' }
