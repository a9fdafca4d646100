-- What hangs on a run beside its record, its bodies and its waits: changed metadata, streams, its
-- log, what Celery says of it. The record of a run that has any of it has the field `data`. Calls PEXPIRE or DEL for all of it.
local function all_data(verb, id, ...)
  for _, name in ipairs({ key_metadata(id), key_metadata_changes(id), key_metadata_before(id),
    key_logs(id), key_log_facts(id), key_canvas(id) }) do
    redis.call(verb, name, ...)
  end
  local streams = redis.call('HGETALL', key_streams(id))
  for i = 1, #streams, 2 do
    redis.call(verb, key_stream(streams[i], id), ...)
    redis.call(verb, key_stream_state(streams[i], id), ...)
  end
  redis.call(verb, key_streams(id), ...)
end
