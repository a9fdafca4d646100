-- read_owned: the runs a session owns, for it to see whether it knows them all.
-- KEYS  scope
-- ARGV  session
-- REPLY {id, epoch}…
-- TTL   none
local owned = {}
for _, id in ipairs(redis.call('SMEMBERS', key_owned(session))) do
  owned[#owned + 1] = { id, redis.call('HGET', key_run(id), 'epoch') or '' }
end
return owned
