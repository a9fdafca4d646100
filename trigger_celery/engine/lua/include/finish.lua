-- Ends attempts. One item: id, epoch, kind, detail, data.
--   done     detail: packet type        data: output
--   failed   detail: final status       data: error, JSON
--   retry    detail: delay ms           data: error, JSON
--   move     detail: delay ms and the machine preset of the next attempt; data: error, JSON
--   lost     detail: delay ms or ''     data: error, JSON (the process that ran it died)
--   back     not started after all      unknown  the worker does not have the task
-- Answers: ok | crashed (lost once too often: no attempt follows) | stale (another owner, or not in a
--   state to end) | final (ended otherwise before) | gone (no such run).
-- INCLUDE requeue
-- INCLUDE data
local STATE = {
  'status', 'epoch', 'owner', 'lane', 'created', 'n', 'watch', 'attempt', 'since', 'op',
  'task', 'payload', 'prio', 'queued', 'waits', 'waited', 'batch', 'resumed', 'data',
}

local function seal(id, f, retention, now, noted)
  gather('ZADD', key_retention(), now + retention, id)
  local ttl = int(retention + 604800000)
  redis.call('PEXPIRE', key_run(id), ttl)
  if not f[12] then redis.call('PEXPIRE', key_payload(id), ttl) end
  if f[19] then all_data('PEXPIRE', id, ttl) end
  -- The first attempt has nothing behind it, unless it has just been noted.
  local again = tonumber(f[8] or '0') > 1
  if noted or again then redis.call('PEXPIRE', key_attempts(id), ttl) end
  -- An earlier attempt may have made runs, and this one nothing.
  if f[15] or again then redis.call('PEXPIRE', key_children(id), ttl) end
  return ttl
end

-- Stores a long output; returns the fields that the run's record gets for it.
local function put_output(id, ptype, data, ttl)
  local fields = {}
  if ptype ~= 'application/json' then fields = { 'otype', ptype } end
  if #data <= 64 then
    fields[#fields + 1] = 'output'
    fields[#fields + 1] = data
  else
    redis.call('SET', key_output(id), data, 'PX', ttl)
  end
  return unpack(fields)
end

local function finish(op_id, id, epoch, kind, detail, data, retention, now, freed)
  local f = redis.call('HMGET', key_run(id), unpack(STATE))
  local status = f[1]
  if not status then return 'gone' end
  if f[10] == op_id then return kind == 'lost' and status == 'CRASHED' and 'crashed' or 'ok' end
  if FINAL[status] then return 'final' end
  local early = kind == 'back' or kind == 'unknown'
  if f[2] ~= epoch or not (status == 'EXECUTING' or (early and status == 'DEQUEUED')) then
    return 'stale'
  end
  local run = { id = id, before = status, created = f[5], n = f[6], watched = f[7] }
  local answer = 'ok'
  if kind == 'lost' then
    local lost = redis.call('HINCRBY', key_run(id), 'lost', 1)
    kind = (lost < MAX_LOSSES and detail ~= '') and 'retry' or 'failed'
    if kind == 'failed' then
      detail = 'CRASHED'
      answer = 'crashed'
    end
  end
  if early then
    give_back(run, f, op_id, kind, now, freed)
  elseif kind == 'retry' or kind == 'move' then
    retry(run, f, op_id, detail, data, now, freed)
  else
    local after = kind == 'done' and 'COMPLETED' or detail
    if not (FINAL[after] and legal(status, after)) then return 'stale' end
    release(id, f[4], f[3], freed)
    if kind == 'failed' then note_attempt(id, f, now, data) end
    local ttl = seal(id, f, tonumber(retention), now, kind == 'failed')
    if kind == 'done' then
      change(run, after, now, 'op', op_id, 'finished', now, put_output(id, detail, data, ttl))
    else
      redis.call('SET', key_error(id), data, 'PX', ttl)
      change(run, after, now, 'op', op_id, 'finished', now)
    end
    settle(id, f[15], f[16], f[17], now)
  end
  return answer
end

local function finish_all(op_id, first, retention, now, freed)
  local answers = {}
  for i = first, #ARGV, 5 do
    answers[#answers + 1] =
      finish(op_id, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4],
        retention, now, freed)
  end
  return answers
end
