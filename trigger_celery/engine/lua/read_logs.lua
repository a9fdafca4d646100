-- read_logs: the next lines of a run's log.
-- KEYS  scope
-- ARGV  run_id after count
--       after: the id of the entry before, or '-' for the first.
-- REPLY {status or '', lines dropped, entries}
-- TTL   none
local status = redis.call('HGET', key_run(run_id), 'status') or ''
local dropped = redis.call('HGET', key_log_facts(run_id), 'dropped') or '0'
local from = after == '-' and after or '(' .. after
return { status, dropped, redis.call('XRANGE', key_logs(run_id), from, '+', 'COUNT', count) }
