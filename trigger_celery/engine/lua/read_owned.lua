-- read_owned: the runs a session owns, for it to see whether it knows them all.
-- KEYS  scope
-- ARGV  session
-- REPLY {id, epoch, status}…
-- TTL   none
local owned = {}
for _, id in ipairs(redis.call('SMEMBERS', key_owned(session))) do
  local f = redis.call('HMGET', key_run(id), 'epoch', 'status')
  owned[#owned + 1] = { id, f[1] or '', f[2] or '' }
end
return owned
