-- read_bulks: one bulk action, or a page of them, newest first.
-- KEYS  scope
-- ARGV  id skip count
--       id '': a page, of what follows the first `skip`.
-- REPLY {id, fields and values}…
-- TTL   none
local ids = { id }
if id == '' then ids = redis.call('ZREVRANGE', key_bulks(), skip, skip + count - 1) end
local reply = {}
for _, one in ipairs(ids) do
  local fields = redis.call('HGETALL', key_bulk(one))
  if #fields > 0 then reply[#reply + 1] = { one, fields } end
end
return reply
