-- read_metadata: the metadata of a run: as it is, and as it was when its attempt began.
-- KEYS  scope
-- ARGV  run_id
-- REPLY {folds, document or '', changes, document at the start, its changes as a JSON array}
--       | empty when unknown; the last two are missing when it has not changed in the attempt
-- TTL   none
local f = redis.call('HMGET', key_run(run_id), 'status', 'metadata_folds', 'attempt')
if not f[1] then return {} end
local reply = {
  f[2] or '0',
  redis.call('GET', key_metadata(run_id)) or '',
  redis.call('LRANGE', key_metadata_changes(run_id), 0, -1),
}
local b = redis.call('HMGET', key_metadata_before(run_id), 'attempt', 'seed', 'start', 'start_changes')
if b[1] and b[1] == (f[3] or '0') then
  reply[4] = b[3] or b[2]
  reply[5] = b[4] or '[]'
end
return reply
