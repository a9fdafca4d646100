-- Runs that are not over: given back unstarted, or with another attempt to come.
local REQUEUE_FROM_MS = 30000

local function note_attempt(id, f, now, error)
  redis.call('RPUSH', key_attempts(id), '{"number":' .. (f[8] or '0') .. ',"started":'
    .. (f[9] or int(now)) .. ',"finished":' .. int(now) .. ',"error":' .. error .. '}')
  redis.call('LTRIM', key_attempts(id), -250, -1)
end

-- Another live worker may have the task: then the run tries again in a moment.
local function known_elsewhere(task, session)
  for _, other in ipairs(redis.call('ZRANGE', key_workers(), 0, 99)) do
    local tasks = redis.call('HGET', key_worker(other), 'tasks') or ''
    if other ~= session and string.find(tasks, '\31' .. task .. '\31', 1, true) then
      return true
    end
  end
  return false
end

local function give_back(run, f, op_id, kind, now, freed)
  release(run.id, f[4], f[3], freed)
  local attempt = tonumber(f[8] or '0')
  if run.before == 'EXECUTING' then attempt = attempt - 1 end
  redis.call('HDEL', key_run(run.id), 'owner')
  if kind == 'unknown' and not known_elsewhere(f[11], f[3]) then
    change(run, 'PENDING_VERSION', now, 'op', op_id, 'attempt', attempt)
    redis.call('ZADD', key_parked(token(f[11])), f[5], run.id)
    return
  end
  local lane = kind == 'unknown' and lane_of(f[11], f[4]) or f[4]
  change(run, 'QUEUED', now, 'op', op_id, 'attempt', attempt, 'lane', lane)
  if kind == 'unknown' then
    redis.call('ZADD', key_timers(), int(now + 500), run.id)
    hurry(now + 500, now)
  else
    enqueue(lane, { int(tonumber(f[14]) - tonumber(f[13] or '0')), run.id })
  end
end

local function retry(run, f, op_id, delay, error, now, freed)
  note_attempt(run.id, f, now, error)
  if delay < REQUEUE_FROM_MS then
    change(run, 'EXECUTING', now, 'op', op_id, 'attempt', int(tonumber(f[8]) + 1),
      'since', now + delay)
    return
  end
  release(run.id, f[4], f[3], freed)
  redis.call('HDEL', key_run(run.id), 'owner')
  change(run, 'QUEUED', now, 'op', op_id)
  redis.call('ZADD', key_timers(), int(now + delay), run.id)
end
