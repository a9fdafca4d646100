-- read_workers: every worker session with what it said of itself.
-- KEYS  scope
-- ARGV  most
-- REPLY {now ms, {session, lease deadline ms, info JSON, tasks, busy, free, since ms, owned}…}
--       tasks: ids parted by U+001F. busy and free are '' until the first renewal.
-- TTL   none
-- INCLUDE clock
local now = clock()
local reply = { int(now) }
local found = redis.call('ZREVRANGE', key_workers(), 0, tonumber(most) - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local f = redis.call('HMGET', key_worker(found[i]), 'info', 'tasks', 'busy', 'free', 'since')
  reply[#reply + 1] = { found[i], found[i + 1], f[1] or '{}', f[2] or '', f[3] or '', f[4] or '',
    f[5] or int(now), redis.call('SCARD', key_owned(found[i])) }
end
return reply
