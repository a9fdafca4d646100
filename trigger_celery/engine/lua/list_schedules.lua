-- list_schedules: returns some schedules, the newest first.
-- KEYS  scope
-- ARGV  label skip count
--       label: '' for all, a task as a token, or by-<token> of the app that declares them.
-- REPLY now, how many there are, then id, and fields and values, of each
-- TTL   none
-- INCLUDE clock
local index = label == '' and key_schedules() or key_index_schedule(label)
local found = redis.call('ZREVRANGE', index, skip, int(skip + count - 1))
local reply = { int(clock()), redis.call('ZCARD', index) }
for _, id in ipairs(found) do
  reply[#reply + 1] = id
  reply[#reply + 1] = redis.call('HGETALL', key_redbeat(id))
end
return reply
