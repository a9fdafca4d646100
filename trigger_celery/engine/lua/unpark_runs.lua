-- unpark_runs: queues runs that waited for a worker with their task: PENDING_VERSION -> QUEUED.
-- KEYS  scope
-- ARGV  task count
-- REPLY number of runs queued
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
local now = clock()
local found = redis.call('ZPOPMIN', key_parked(token(task)), count)
for i = 1, #found, 2 do
  local id = found[i]
  local f = redis.call('HMGET', key_run(id), 'status', 'lane', 'created', 'n', 'watch', 'prio',
    'queued')
  if f[1] == 'PENDING_VERSION' then
    local lane = lane_of(task, f[2])
    local run = { id = id, before = f[1], created = f[3], n = f[4], watched = f[5] }
    change(run, 'QUEUED', now, 'lane', lane)
    enqueue(lane, { int(tonumber(f[7]) - tonumber(f[6] or '0')), id })
  end
end
write_gathered()
return #found / 2
