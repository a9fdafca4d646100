-- The record of a task that Celery's broker carries: what its facts have become, written once a call.
-- INCLUDE facts
-- INCLUDE describe
local DAY = 86400000

-- The output or the error of the end that counts.
local function write_end(r, s, error, ttl)
  local win = s.best and s.best.field or s.status == 'CRASHED' and 'lost' or ''
  if win == r.win then return end
  if FINAL[r.status] then
    redis.call('DEL', key_error(r.id), key_output(r.id))
    redis.call('HDEL', key_run(r.id), 'output', 'otype', 'finished')
  end
  set(r, 'win', win)
  if win == '' then return end
  set(r, 'finished', int(s.finished))
  local output = r.outputs[win]
  if s.status ~= 'COMPLETED' then
    local reason = s.best and (r.reasons[win] or redis.call('HGET', key_reasons(r.id), win))
    redis.call('SET', key_error(r.id), reason or error, 'PX', ttl)
  elseif output then
    if output[1] ~= 'application/json' then set(r, 'otype', output[1]) end
    if #output[2] <= 64 then
      set(r, 'output', output[2])
    else
      redis.call('SET', key_output(r.id), output[2], 'PX', ttl)
    end
  end
end

-- Everything of a recorded run expires, also while it is not final: nobody may ever say how it ended.
local function keep_recorded(r, s, retention)
  local stay = FINAL[s.status] and retention or math.max(retention, DAY) + math.max(0, s.due - now)
  local ttl = int(stay + 604800000)
  gather('ZADD', key_retention(), int(now + stay), r.id)
  return ttl
end

-- What a run has from its beginning lives long enough for most of them.
local function expire_recorded(r, s, ttl)
  if not r.status or s.due > now or now - r.created > 6 * DAY then
    redis.call('PEXPIRE', key_run(r.id), ttl)
    redis.call('PEXPIRE', key_payload(r.id), ttl)
    if r.sent then redis.call('PEXPIRE', key_message(r.id), ttl) end
    redis.call('PEXPIRE', key_reasons(r.id), ttl)
  end
  if FINAL[s.status] then
    if r.data then all_data('PEXPIRE', r.id, ttl) end
    if r.waits then redis.call('PEXPIRE', key_children(r.id), ttl) end
  end
end

-- Errors are beside the record, which lists are made of.
local function write_reasons(r, ttl)
  local new = {}
  for field, reason in pairs(r.reasons) do
    new[#new + 1], new[#new + 2] = field, reason
  end
  if #new == 0 then return end
  redis.call('HSET', key_reasons(r.id), unpack(new))
  redis.call('PEXPIRE', key_reasons(r.id), ttl)
end

-- Writes what the facts have become.
local function settle_recorded(r, retention, lease, error)
  if not r.task or not (next(r.new) or r.changed or r.moved) then return end
  local s = standing(r.facts, now)
  local ttl = keep_recorded(r, s, retention)
  local created = math.min(r.created or now, r.first)
  for field, value in pairs(r.new) do set(r, field, value) end
  write_reasons(r, ttl)
  if r.payload then redis.call('SET', key_payload(r.id), r.payload, 'PX', ttl) end
  if r.message then redis.call('SET', key_message(r.id), r.message, 'PX', ttl) end
  if r.moved then
    join_family(r, r.parent, r.root, created, ttl)
    if redis.call('PEXPIRE', key_children(r.id), ttl) == 1 then tell_children(r) end
  end
  if r.moved or r.again or created ~= r.created then
    each_index(r, function(name) gather('ZADD', name, int(created), r.id) end)
    set(r, 'created', int(created))
    if r.status and created ~= r.created then
      gather('ZADD', key_index_status(s.status), int(created), r.id)
    end
  end
  set(r, 'attempt', s.begun)
  set(r, 'queued', int(s.due > 0 and s.due or created))
  if s.due > 0 then
    set(r, 'due', int(s.due))
  elseif r.due then
    redis.call('HDEL', key_run(r.id), 'due')
  end
  if s.started > 0 then set(r, 'started', int(s.started)) end
  write_end(r, s, error, ttl)
  if not r.status then
    gather('ZADD', key_index_status(s.status), int(created), r.id)
    redis.call('HSET', key_run(r.id), 'rec', '1', 'status', s.status, 'n', '1', unpack(r.fields))
    announce(r.id, s.status, '1')
  else
    local run = { id = r.id, before = r.status, created = int(created), n = r.n, watched = r.watch }
    change(run, s.status, now, unpack(r.fields))
  end
  expire_recorded(r, s, ttl)
  if s.status == 'DELAYED' then
    gather('ZADD', key_recorded(), int(s.due), r.id)
  elseif s.status == 'EXECUTING' then
    -- What producers say is no sign of life.
    if r.status ~= 'EXECUTING' or r.began then gather('ZADD', key_recorded(), int(now + lease), r.id) end
  elseif r.status == 'EXECUTING' or r.status == 'DELAYED' then
    gather('ZREM', key_recorded(), r.id)
  end
  return s.status
end
