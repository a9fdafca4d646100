-- Runs that are not over: given back unstarted, or with another attempt to come.
-- INCLUDE machines

local function note_attempt(id, f, now, error)
  redis.call('RPUSH', key_attempts(id), '{"number":' .. (f[8] or '0') .. ',"started":'
    .. (f[9] or int(now)) .. ',"finished":' .. int(now) .. ',"error":' .. error .. '}')
  redis.call('LTRIM', key_attempts(id), -250, -1)
end

-- Another worker may have the task and serve its lane: then the run tries again in a moment.
-- Asked once a call for each such lane.
local elsewhere = {}
local function known_elsewhere(task, lane, session)
  local asked = task .. '\31' .. lane
  if elsewhere[asked] == nil then
    local wq = split(lane)
    elsewhere[asked] = false
    for _, other in ipairs(redis.call('ZRANGE', key_workers(), 0, -1)) do
      local f = redis.call('HMGET', key_worker(other), 'tasks', 'serves')
      if other ~= session and string.find(f[1] or '', '\31' .. task .. '\31', 1, true)
        and string.find(f[2] or '', wq, 1, true) then
        elsewhere[asked] = true
        break
      end
    end
  end
  return elsewhere[asked]
end

-- RARE
local function give_back(run, f, op_id, kind, now, freed)
  release(run.id, f[4], f[3], freed)
  local attempt = tonumber(f[8] or '0')
  -- A run that goes on after a wait, or noted calls, does so as the attempt it was.
  if f[18] or (f[15] and run.before == 'EXECUTING') then
    redis.call('HDEL', key_run(run.id), 'resumed')
    redis.call('HSET', key_run(run.id), 'resume', '1')
  elseif run.before == 'EXECUTING' then
    attempt = attempt - 1
  end
  redis.call('HDEL', key_run(run.id), 'owner')
  local lane = f[4]
  if kind == 'unknown' then
    local m = redis.call('HMGET', key_run(run.id), 'opts', 'base')
    local machine = m[1] and cjson.decode(m[1]).machine
    lane = place_on(run.id, machine, lane_of(f[11], own_lane(lane, m[2])))
  end
  if kind == 'unknown' and not known_elsewhere(f[11], lane, f[3]) then
    change(run, 'PENDING_VERSION', now, 'op', op_id, 'attempt', attempt)
    redis.call('ZADD', key_parked(token(f[11])), f[5], run.id)
    return
  end
  change(run, 'QUEUED', now, 'op', op_id, 'attempt', attempt)
  if kind == 'unknown' then
    redis.call('ZADD', key_timers(), int(now + 500), run.id)
    local t = attempt == 0 and redis.call('HMGET', key_run(run.id), 'ttl', 'released') or {}
    if t[1] then redis.call('ZADD', key_timers(), int((t[2] or f[14]) + t[1]), timer_expire(run.id)) end
    hurry(now + 500, now)
  else
    enqueue(lane, { int(tonumber(f[14]) - tonumber(f[13] or '0')), run.id })
  end
end

-- RARE
local function retry(run, f, op_id, detail, error, now, freed)
  local after, machine = string.match(detail, '^(%d+) ?(.*)$')
  local delay = tonumber(after)
  note_attempt(run.id, f, now, error)
  if f[15] then forget_waits(run.id) end
  if machine == '' and delay < REQUEUE_FROM_MS then
    change(run, 'EXECUTING', now, 'op', op_id, 'attempt', int(tonumber(f[8]) + 1),
      'since', now + delay)
    return
  end
  release(run.id, f[4], f[3], freed)
  redis.call('HDEL', key_run(run.id), 'owner')
  if machine ~= '' then
    local m = redis.call('HMGET', key_run(run.id), 'opts', 'base')
    local opts = cjson.decode(m[1] or '{}')
    opts.machine = machine
    place_on(run.id, machine, own_lane(f[4], m[2]))
    redis.call('HSET', key_run(run.id), 'opts', cjson.encode(opts))
  end
  change(run, 'QUEUED', now, 'op', op_id)
  redis.call('ZADD', key_timers(), int(now + delay), run.id)
  if machine ~= '' then hurry(now + delay, now) end
end
