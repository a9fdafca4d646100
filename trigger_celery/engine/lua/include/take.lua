-- Hands runs to a session, oldest first within a lane, fair between lanes, within every limit.
local WANTED = {
  'status', 'task', 'queue', 'lane', 'created', 'queued', 'attempt', 'epoch', 'n', 'watch',
  'ckey', 'prio', 'max', 'tags', 'ptype', 'payload', 'started', 'links', 'maxdur', 'batch',
  'resume', 'resumed', 'since', 'opts', 'data',
}

-- One run as one string, fields parted by U+001F, the payload last: cheap to read for a client. A large
-- payload is fetched by who executes the run (flag p): replies and mailboxes stay small.
local function describe(id, f, epoch, attempt, status)
  local payload, apart = f[16], ''
  if not payload then
    payload = redis.call('GETRANGE', key_payload(id), 0, MAX_INLINE)
    if #payload > MAX_INLINE then payload, apart = '', 'p' end
  end
  -- A repeated call gets the same, though its run has started by then.
  local first = tonumber(attempt) + (status == 'DEQUEUED' and 1 or 0) <= 1 and not (f[21] or f[22])
  return table.concat({
    id, epoch, attempt, status, f[2], f[3], f[11] or '', f[5], f[6], f[12] or '', f[13] or '',
    string.gsub(f[14] or '', '\31', '\30'), f[18] or '', f[19] or '', f[20] or '', (f[21] or f[22] or '') .. (f[25] and 'd' or '') .. apart
      .. (not first and f[17] and 's' .. f[17] or ''),
    f[15] or '', f[24] or '',
    payload,
  }, '\31')
end

-- told: the session did not ask for it and may be gone.
local function grant(id, session, start, now, us, told)
  local f = redis.call('HMGET', key_run(id), unpack(WANTED))
  if f[1] ~= 'QUEUED' then return nil end
  if f[24] then
    local due = redis.call('ZSCORE', key_timers(), timer_expire(id))
    if due and tonumber(due) <= now then
      redis.call('ZADD', key_timers(), due, id)  -- its TTL has passed: the other timer is about to end it
      return nil
    end
    gather('ZREM', key_timers(), timer_expire(id))
  end
  local run = { id = id, before = 'QUEUED', created = f[5], n = f[9], watched = f[10] }
  local epoch = int(math.max(us, tonumber(f[8] or '0') + 1))
  local attempt = tonumber(f[7] or '0')
  if start then
    -- A run that waited without a worker goes on as the attempt it was.
    if f[21] then
      redis.call('HDEL', key_run(id), 'resume')
      redis.call('HSET', key_run(id), 'resumed', '1')
    else
      attempt = attempt + 1
    end
    change(run, 'EXECUTING', now, 'owner', session, 'epoch', epoch, 'attempt', attempt,
      'since', f[21] and f[23] or now, 'started', f[17] or now)
    if told then redis.call('HSET', key_run(id), 'told', now) end
    return describe(id, f, epoch, attempt, 'EXECUTING')
  end
  change(run, 'DEQUEUED', now, 'owner', session, 'epoch', epoch)
  return describe(id, f, epoch, attempt, 'DEQUEUED')
end
-- INCLUDE turns

-- The runs a repeated call was given the first time, as far as the session still owns them.
-- RARE
local function taken_before(session, ids)
  local runs = {}
  for id in string.gmatch(ids, '%S+') do
    local f = redis.call('HMGET', key_run(id), unpack(WANTED))
    local owner = redis.call('HGET', key_run(id), 'owner')
    if owner == session and (f[1] == 'DEQUEUED' or f[1] == 'EXECUTING') then
      runs[#runs + 1] = describe(id, f, f[8], f[7] or '0', f[1])
    end
  end
  return runs
end

-- Returns the runs, or nil when the session's lease has been taken away.
local function take(op_id, session, worker_queues, want, start, now, us)
  if not redis.call('ZSCORE', key_workers(), session) then return nil end
  if redis.call('HGET', key_worker(session), 'op') == op_id then
    return taken_before(session, redis.call('HGET', key_worker(session), 'taken') or '')
  end
  local open = environment_room()
  local runs, ids = {}, {}
  for wq in string.gmatch(worker_queues, '%x+') do
    while #runs < want and #runs < open do
      local left = math.min(want, open) - #runs
      if not take_next(wq, left, session, start, now, us, runs, ids) then break end
    end
  end
  write_gathered()
  if #ids > 0 then
    redis.call('HSET', key_worker(session), 'seen', now, 'op', op_id,
      'taken', table.concat(ids, ' '))
  else
    redis.call('HSET', key_worker(session), 'seen', now)
  end
  for wq in string.gmatch(worker_queues, '%x+') do
    if #runs < want then
      redis.call('ZADD', key_idle(wq), now, session)
    else
      redis.call('ZREM', key_idle(wq), session)
      if #runs < open and redis.call('EXISTS', key_ready(wq)) == 1 then wake(wq, 1) end
    end
  end
  return runs
end
