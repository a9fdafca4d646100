-- resume_run: a waiting run goes on although nothing it waits for is done: its own code gave the
-- wait up. WAITING -> EXECUTING, or it queues for its slot and is told. It does not wait for the
-- targets any more.
-- KEYS  scope
-- ARGV  op_id run_id epoch targets...
-- REPLY told (it has its slot, its mailbox says so) | queued (for its slot) | ok (it executes
--       already) | stale
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
local now = clock()
local f = redis.call('HMGET', key_run(run_id), 'status', 'epoch', 'asked')
if f[2] ~= epoch then return 'stale' end
for i = targets, #ARGV do
  redis.call('SREM', key_waiters(ARGV[i]), run_id)
  redis.call('SREM', key_waiting(run_id), ARGV[i])
end
local answer = f[3] == op_id and 'told' or 'ok'
if f[1] == 'WAITING' and answer == 'ok' then
  redis.call('HSET', key_run(run_id), 'asked', op_id)
  go_on(run_id, '-', now)
  write_gathered()
  answer = 'told'
end
return redis.call('HGET', key_run(run_id), 'resuming') and 'queued' or answer
