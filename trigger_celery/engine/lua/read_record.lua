-- read_record: what a run's durable calls were and what its steps returned, for its replay.
-- KEYS  scope
-- ARGV  run_id
-- REPLY {paths and calls, names and results}
-- TTL   none
return { redis.call('HGETALL', key_calls(run_id)), redis.call('HGETALL', key_steps(run_id)) }
