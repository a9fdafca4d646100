-- read_run: the whole record of a run, and registers the caller's channel for its end or for all its
-- changes.
-- KEYS  scope
-- ARGV  run_id channel watch bodies
--       channel '': do not watch; watch: end or all. bodies '0': only the hash.
-- REPLY {fields and values, payload, output, error, metadata, attempts, declared max attempts,
--       changes of the metadata; in the place of attempts of a recorded run: what failed, and its error} | empty when unknown
-- TTL   watch: 1 hour
local fields = redis.call('HGETALL', key_run(run_id))
if #fields == 0 then return {} end
if channel ~= '' then
  redis.call('SADD', key_watch(run_id), channel)
  redis.call('PEXPIRE', key_watch(run_id), 3600000)
  if redis.call('HGET', key_run(run_id), 'watch') ~= 'all' then
    redis.call('HSET', key_run(run_id), 'watch', watch)
  end
end
if bodies == '0' then return { fields } end
local function text(value) return value or '' end

-- What workers declared for the task counts unless the trigger said otherwise.
local function declared_max()
  local known = redis.call('HGET', key_tasks(), redis.call('HGET', key_run(run_id), 'task'))
  return known and string.match(known, '^[^\31]*\31[^\31]*\31(%d+)')
end

-- Attempts of a recorded run are in its record.
local function attempts()
  for i = 1, #fields, 2 do
    if fields[i] == 'rec' then return redis.call('HGETALL', key_reasons(run_id)) end
  end
  return redis.call('LRANGE', key_attempts(run_id), 0, -1)
end

return {
  fields,
  text(redis.call('GET', key_payload(run_id))),
  text(redis.call('GET', key_output(run_id))),
  text(redis.call('GET', key_error(run_id))),
  text(redis.call('GET', key_metadata(run_id))),
  attempts(),
  text(declared_max()),
  redis.call('LRANGE', key_metadata_changes(run_id), 0, -1),
}
