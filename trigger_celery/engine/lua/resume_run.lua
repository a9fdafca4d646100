-- resume_run: a waiting run goes on although nothing it waits for is done: its own code gave the
-- wait up. WAITING -> EXECUTING, or it queues for its slot and is told.
-- KEYS  scope
-- ARGV  run_id epoch
-- REPLY ok | stale
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
local now = clock()
local f = redis.call('HMGET', key_run(run_id), 'status', 'epoch')
if f[2] ~= epoch then return 'stale' end
if f[1] == 'WAITING' then
  go_on(run_id, '-', now)
  write_gathered()
end
return 'ok'
