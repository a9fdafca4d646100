-- list_tokens: one page of tokens, newest first. Looks at no more than 500 of them a call.
-- KEYS  scope
-- ARGV  statuses tags key oldest newest skip count
--       statuses and tags: texts parted by U+001F, '' for any; several mean any of them. key: ''
--       or an idempotency key. oldest, newest: created ms. skip: tokens looked at before.
-- REPLY {{id, fields and values}…, tokens looked at so far, or -1 at the end}
-- TTL   none
local function any(text, value)
  if text == '' then return true end
  local list = '\31' .. text .. '\31'
  for part in string.gmatch(value or '', '[^\31]+') do
    if string.find(list, '\31' .. part .. '\31', 1, true) then return true end
  end
  return false
end

local found = redis.call('ZREVRANGEBYSCORE', key_tokens(), newest, oldest, 'LIMIT', skip, 500)
local reply = {}
for i, id in ipairs(found) do
  local f = redis.call('HMGET', key_waitpoint(id), 'status', 'tags', 'key')
  if f[1] and any(statuses, f[1]) and any(tags, f[2]) and (key == '' or f[3] == key) then
    reply[#reply + 1] = { id, redis.call('HGETALL', key_waitpoint(id)) }
    if #reply == tonumber(count) then
      return { reply, skip + i }
    end
  end
end
return { reply, #found == 500 and skip + 500 or -1 }
