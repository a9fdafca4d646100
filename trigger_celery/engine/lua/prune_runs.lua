-- prune_runs: removes final runs, ended waitpoints, batches and bulk actions whose retention has passed, with
-- everything that names them, and recorded runs nobody spoke of for as long. What a run that is not final made or waited for stays for another
-- day, again and again: the run may be executed again and then asks for it.
-- KEYS  scope
-- ARGV  count
-- REPLY number removed or kept for another day
-- TTL   what is kept: 8 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE data
-- INCLUDE unlist
local now = clock()
local DAY = 86400000

local function belongings(id, kind)
  if kind == 'waitpoint' then return { key_waitpoint(id), key_waitpoint_output(id) } end
  if kind == 'batch' then return { key_batch(id), key_batch_runs(id), key_batch_left(id) } end
  if kind == 'bulk' then return { key_bulk(id) } end
  return { key_run(id), key_payload(id), key_output(id), key_error(id), key_attempts(id),
    key_children(id), key_reasons(id), key_message(id) }
end

local function lives(run)
  local status = run and redis.call('HGET', key_run(run), 'status')
  return status and not FINAL[status]
end

local function needed(id, kind)
  local record = belongings(id, kind)[1]
  local f = redis.call('HMGET', record, 'keeper', 'parent', 'links')
  if lives(f[1]) or lives(f[2]) or lives(f[3] and string.match(f[3], '^[^\30]+')) then return true end
  -- There may be very many of them: some a call.
  for _, run in ipairs(redis.call('SRANDMEMBER', key_keepers(id), 200)) do
    if lives(run) then return true end
    redis.call('SREM', key_keepers(id), run)
  end
  return redis.call('EXISTS', key_keepers(id)) == 1 and 'unknown'
end

local lost = {}
local function leave_indexes(id, kind)
  if kind == 'waitpoint' then redis.call('ZREM', key_tokens(), id) end
  if kind == 'bulk' then redis.call('ZREM', key_bulks(), id) end
  if kind == 'batch' then
    local keyed = redis.call('HGET', key_batch(id), 'keyed')
    if keyed and redis.call('GET', key_batch_key(keyed)) == id then redis.call('DEL', key_batch_key(keyed)) end
  end
  if kind ~= 'run' then return end
  redis.call('DEL', key_watch(id))
  redis.call('ZREM', key_continuing(), id)
  local f = redis.call('HMGET', key_run(id), 'idem', 'deb')
  if not unlist(id) then
    lost[#lost + 1] = id
    return
  end
  if f[1] and redis.call('GET', key_idem(f[1])) == id then redis.call('DEL', key_idem(f[1])) end
  if f[2] and redis.call('GET', key_debounce(f[2])) == id then
    redis.call('DEL', key_debounce(f[2]))
  end
end

-- Records that expired by themselves, as no worker ran for a week behind their retention: they are
-- taken out of the indexes whose names are known without them. Those of tags, versions and bulk
-- actions keep what names them; who reads these passes over it.
local function forget_lost()
  if not lost[1] then return end
  for status in string.gmatch(LEGAL, '[A-Z_]+') do
    redis.call('ZREM', key_index_status(status), unpack(lost))
  end
  redis.call('ZREM', key_index_label('test'), unpack(lost))
  if redis.call('HLEN', key_tasks()) <= 1000 then
    for _, task in ipairs(redis.call('HKEYS', key_tasks())) do
      redis.call('ZREM', key_index_task(token(task)), unpack(lost))
    end
  end
  if redis.call('HLEN', key_queues()) <= 1000 then
    for _, q in ipairs(redis.call('HKEYS', key_queues())) do
      redis.call('ZREM', key_index_queue(q), unpack(lost))
    end
  end
end

local due = redis.call('ZRANGEBYSCORE', key_retention(), '-inf', int(now), 'LIMIT', 0, count)
for _, id in ipairs(due) do
  local kind = string.match(id, '^%a+')
  local is_needed = needed(id, kind)
  if is_needed then
    redis.call('ZADD', key_retention(), int(now + (is_needed == 'unknown' and 1000 or DAY)), id)
    for _, name in ipairs(belongings(id, kind)) do redis.call('PEXPIRE', name, 8 * DAY) end
    if kind == 'run' then all_data('PEXPIRE', id, 8 * DAY) end
  else
    leave_indexes(id, kind)
    redis.call('DEL', key_keepers(id))
    redis.call('DEL', unpack(belongings(id, kind)))
    if kind == 'run' then all_data('DEL', id) end
    redis.call('ZREM', key_retention(), id)
  end
end
forget_lost()
return #due
