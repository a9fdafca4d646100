-- read_due: returns schedules that are due, the longest due first, and when the next one is.
-- KEYS  scope
-- ARGV  count fields...
-- REPLY now, when the first is due that is not due yet (s) or '', then per schedule its key and the values of the fields, parted by U+001F
-- TTL   none
-- INCLUDE clock
local now = clock()
local seconds = string.format('%.3f', now / 1000)
local found = redis.call('ZRANGEBYSCORE', key_redbeat_due(), '-inf', seconds, 'LIMIT', 0, count)
local next = redis.call('ZRANGEBYSCORE', key_redbeat_due(), '(' .. seconds, '+inf', 'WITHSCORES',
  'LIMIT', 0, 1)
local reply = { int(now), next[2] or '' }
for _, name in ipairs(found) do
  local values = redis.call('HMGET', name, unpack(ARGV, fields))
  for i, value in ipairs(values) do values[i] = value or '' end
  reply[#reply + 1] = name .. '\31' .. table.concat(values, '\31')
end
return reply
