-- read_heartbeat: when the worker that has a run last renewed its lease.
-- KEYS  scope
-- ARGV  run_id
-- REPLY ms, or nothing
-- TTL   none
local owner = redis.call('HGET', key_run(run_id), 'owner')
local deadline = owner and redis.call('ZSCORE', key_workers(), owner)
local lease = deadline and redis.call('HGET', key_worker(owner), 'lease')
return lease and string.format('%.0f', tonumber(deadline) - tonumber(lease))
