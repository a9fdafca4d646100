-- Takes a run out of what lists it: the indexes, the children of its parent, what is looked after of
-- recorded runs. Returns whether there is a record that says where it is listed.
-- RARE
local function unlist(id)
  local f = redis.call('HMGET', key_run(id), 'status', 'task', 'queue', 'tags', 'labels', 'links', 'rec')
  if not f[1] then return false end
  local parent = string.match(f[6] or '', '^[^\30]+')
  if parent then redis.call('ZREM', key_children(parent), id) end
  redis.call('ZREM', key_index_status(f[1]), id)
  redis.call('ZREM', key_index_task(token(f[2])), id)
  redis.call('ZREM', key_index_queue(token(f[3])), id)
  for tag in string.gmatch(f[4] or '', '[^\31]+') do
    redis.call('ZREM', key_index_tag(token(tag)), id)
  end
  for label in string.gmatch(f[5] or '', '[^\31]+') do redis.call('ZREM', key_index_label(label), id) end
  if f[7] then redis.call('ZREM', key_recorded(), id) end
  return true
end
