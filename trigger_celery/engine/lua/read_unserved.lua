-- read_unserved: queued runs whose worker queue no live worker serves, by queue.
-- KEYS  scope
-- ARGV  cursor
-- REPLY {next cursor, {queue, task of one such run, its worker queue or '', runs, the preset that the worker queue is for or ''}…}
-- TTL   none
-- INCLUDE clock
-- INCLUDE lanes
local now = clock()
local live = {}
for _, session in ipairs(redis.call('ZRANGEBYSCORE', key_workers(), int(now), '+inf')) do
  for wq in string.gmatch(redis.call('HGET', key_worker(session), 'serves') or '', '%x+') do
    live[wq] = true
  end
end

-- The name of a worker queue is known from what workers declared for the task.
local function described(lane, wq)
  local id = redis.call('ZRANGE', key_lane(lane), 0, 0)[1]
  local f = id and redis.call('HMGET', key_run(id), 'task', 'base', 'opts') or {}
  local task, base = f[1] or '', f[2]
  local known = redis.call('HGET', key_tasks(), task)
  local name = known and string.match(known, '^[^\31]*\31([^\31]*)') or ''
  local machine = base and cjson.decode(f[3]).machine or ''
  return task, token(name) == (base or wq) and name or '', machine
end

local found = redis.call('HSCAN', key_queues(), cursor, 'COUNT', 100)
local reply = { found[1] }
for i = 1, #found[2], 2 do
  local waiting = {}
  for _, lane in ipairs(redis.call('SMEMBERS', key_lanes(found[2][i]))) do
    local wq = split(lane)
    if not live[wq] then
      local entry = waiting[wq] or { found[2][i + 1], '', '', 0, '' }
      if entry[4] == 0 then entry[2], entry[3], entry[5] = described(lane, wq) end
      entry[4] = entry[4] + redis.call('ZCARD', key_lane(lane))
      waiting[wq] = entry
    end
  end
  for _, entry in pairs(waiting) do reply[#reply + 1] = entry end
end
return reply
