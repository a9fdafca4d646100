-- read_record: what a run's durable calls were, what its steps returned and what its tasks did after
-- their calls, for its replay.
-- KEYS  scope
-- ARGV  run_id
-- REPLY {paths and calls, names and results, tasks and what they did}
-- TTL   none
return {
  redis.call('HGETALL', key_calls(run_id)), redis.call('HGETALL', key_steps(run_id)),
  redis.call('HGETALL', key_rests(run_id)),
}
