-- fold_metadata: replaces the first changes of a run's metadata by what they make of it, unless
-- somebody else has folded meanwhile. What is read stays the same.
-- KEYS  scope
-- ARGV  run_id folds count bytes document
--       folds: how often it had been folded when it was read. count, bytes: of the changes folded in.
-- REPLY ok | changed
-- TTL   of a final run: what is left of its record's
-- INCLUDE clock
-- INCLUDE data
local f = redis.call('HMGET', key_run(run_id), 'metadata_folds', 'metadata_bytes', 'finished')
if (f[1] or '0') ~= folds or not f[2] then return 'changed' end
redis.call('SET', key_metadata(run_id), document)
redis.call('LTRIM', key_metadata_changes(run_id), count, -1)
redis.call('HSET', key_run(run_id), 'metadata_folds', int(tonumber(folds) + 1),
  'metadata_bytes', int(tonumber(f[2]) - tonumber(bytes)))
if f[3] then all_data('PEXPIRE', run_id, redis.call('PTTL', key_run(run_id))) end
return 'ok'
