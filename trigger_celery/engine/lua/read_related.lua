-- read_related: the runs around one: its root, its parent and its newest children, without payloads.
-- KEYS  scope
-- ARGV  run_id most
-- REPLY {number of children, {fields and values, or nothing} of the root, the same of the parent,
--       {id, fields and values}…} | {0} when unknown
-- TTL   none
local links = redis.call('HGET', key_run(run_id), 'links')
local parent, root = string.match(links or '', '^([^\30]*)\30([^\30]*)')
local function record(id)
  return id and redis.call('HGETALL', key_run(id)) or {}
end

local reply = { redis.call('ZCARD', key_children(run_id)), record(root), record(parent) }
for _, id in ipairs(redis.call('ZREVRANGE', key_children(run_id), 0, most - 1)) do
  local fields = record(id)
  if #fields > 0 then reply[#reply + 1] = { id, fields } end
end
return reply
