-- fire_timers: queues the runs whose delay or retry time has come: DELAYED -> QUEUED, and QUEUED
-- runs that wait for a retry enter their lane.
-- KEYS  scope
-- ARGV  count
-- REPLY {fired, due ms of the next timer or '', now ms}
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
local now = clock()
local due = redis.call('ZRANGEBYSCORE', key_timers(), '-inf', int(now), 'WITHSCORES',
  'LIMIT', 0, count)
local lanes = {}
for i = 1, #due, 2 do
  local id = due[i]
  redis.call('ZREM', key_timers(), id)
  local f = redis.call('HMGET', key_run(id), 'status', 'lane', 'created', 'n', 'watch', 'prio')
  if f[1] == 'DELAYED' or f[1] == 'QUEUED' then
    if f[1] == 'DELAYED' then
      local run = { id = id, before = f[1], created = f[3], n = f[4], watched = f[5] }
      change(run, 'QUEUED', now, 'queued', due[i + 1])
    end
    local entries = lanes[f[2]] or {}
    lanes[f[2]] = entries
    entries[#entries + 1] = int(tonumber(due[i + 1]) - tonumber(f[6] or '0'))
    entries[#entries + 1] = id
  end
end
write_gathered()
for lane, entries in pairs(lanes) do enqueue(lane, entries) end
local head = redis.call('ZRANGE', key_timers(), 0, 0, 'WITHSCORES')
return { #due / 2, head[2] or '', int(now) }
