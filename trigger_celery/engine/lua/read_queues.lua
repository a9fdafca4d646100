-- read_queues: every queue with its limit, running and queued runs. Steps over queues whose record
-- has expired, unless runs wait in them.
-- KEYS  scope
-- ARGV  cursor
-- REPLY {next cursor, {name, limit, paused, running, queued, declared}…}
-- TTL   none
local found = redis.call('HSCAN', key_queues(), cursor, 'COUNT', 100)
local queues = {}
for i = 1, #found[2], 2 do
  local q, name = found[2][i], found[2][i + 1]
  local f = redis.call('HMGET', key_queue(q), 'name', 'limit', 'paused', 'declared')
  local lanes = redis.call('SMEMBERS', key_lanes(q))
  if f[1] or #lanes > 0 then
    local queued = 0
    for _, lane in ipairs(lanes) do queued = queued + redis.call('ZCARD', key_lane(lane)) end
    queues[#queues + 1] = { name, f[2] or '', f[3] or '', redis.call('ZCARD', key_queue_slots(q)),
      queued, f[4] or '' }
  end
end
return { found[1], queues }
