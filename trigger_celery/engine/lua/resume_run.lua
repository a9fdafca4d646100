-- resume_run: a waiting run goes on although nothing it waits for is done: its own code gave the
-- wait up. WAITING -> EXECUTING, or it queues for its slot and is told. It does not wait for the
-- targets any more.
-- KEYS  scope
-- ARGV  run_id epoch park targets...
--       park 1: it only forgets the targets.
-- REPLY ok | queued (for its slot) | stale
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
local now = clock()
local f = redis.call('HMGET', key_run(run_id), 'status', 'epoch')
if f[2] ~= epoch then return 'stale' end
for i = targets, #ARGV do
  redis.call('SREM', key_waiters(ARGV[i]), run_id)
  redis.call('SREM', key_waiting(run_id), ARGV[i])
end
if f[1] == 'WAITING' and park == '0' then
  go_on(run_id, '-', now)
  write_gathered()
end
return redis.call('HEXISTS', key_run(run_id), 'resuming') == 1 and 'queued' or 'ok'
