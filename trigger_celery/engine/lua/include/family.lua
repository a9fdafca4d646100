-- Whose child a recorded run is. Its parent's record may come later, or never.
local MOST_RELATED = 1000

local function leave_parent(r, parent)
  local before = string.match(r.links, '^[^\30]*')
  if before ~= '' and before ~= parent then redis.call('ZREM', key_children(before), r.id) end
end

-- Root and depth are those of the parent, if that is known here. A task that replaced itself is not its own child.
local function join_family(r, parent, root, created, ttl)
  if parent == r.id then parent = '' end
  if root == r.id then root = '' end
  if r.links then leave_parent(r, parent) end
  r.root, r.depth = root ~= '' and root or r.id, 0
  if parent == '' then
    if root ~= '' then
      set(r, 'links', '\30' .. root .. '\0300')
    elseif r.links then
      redis.call('HDEL', key_run(r.id), 'links')
    end
    return
  end
  local p = redis.call('HMGET', key_run(parent), 'status', 'rec', 'links')
  r.depth = 1
  if p[1] then
    local above, deep = string.match(p[3] or '', '^[^\30]*\30([^\30]*)\30(%d+)')
    r.root, r.depth = above or parent, (tonumber(deep) or 0) + 1
  elseif root == '' then
    r.root = parent
  end
  redis.call('ZADD', key_children(parent), created, r.id)
  local left = p[1] and redis.call('PTTL', key_run(parent)) or tonumber(ttl)
  if left > 0 then
    redis.call('PEXPIRE', key_children(parent), left)
  else
    redis.call('HSET', key_run(parent), 'waits', '1')
  end
  set(r, 'links', parent .. '\30' .. r.root .. '\30' .. r.depth)
end

-- Children that came before the record learn how deep they are.
-- RARE
local function tell_children(r)
  local todo, told = { { r.id, r.depth } }, 0
  while #todo > 0 and told < MOST_RELATED do
    local parent, depth = unpack(table.remove(todo))
    for _, child in ipairs(redis.call('ZRANGE', key_children(parent), 0, MOST_RELATED - 1)) do
      if redis.call('HGET', key_run(child), 'rec') then
        told = told + 1
        redis.call('HSET', key_run(child), 'links',
          parent .. '\30' .. r.root .. '\30' .. int(depth + 1))
        todo[#todo + 1] = { child, depth + 1 }
      end
    end
  end
end
