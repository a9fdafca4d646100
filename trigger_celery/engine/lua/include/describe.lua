-- What a recorded run is and whose child, and where it is listed.
local function token(text)
  return string.sub(redis.sha1hex(text), 1, 20)
end

local function set(r, name, value)
  r.fields[#r.fields + 1] = name
  r.fields[#r.fields + 1] = value
end

-- Who made the run, if that is known here; root and depth are those of the parent then.
local function join_family(r, parent, root, created)
  if parent == '' then
    if root ~= '' and root ~= r.id then set(r, 'links', '\30' .. root .. '\0300') end
    return
  end
  local p = redis.call('HMGET', key_run(parent), 'status', 'rec', 'links')
  local depth = 1
  if p[1] then
    local above, deep = string.match(p[3] or '', '^[^\30]*\30([^\30]*)\30(%d+)')
    root, depth = above or parent, (tonumber(deep) or 0) + 1
    redis.call('ZADD', key_children(parent), created, r.id)
    local ttl = redis.call('PTTL', key_run(parent))
    if ttl > 0 then
      redis.call('PEXPIRE', key_children(parent), ttl)
    else
      redis.call('HSET', key_run(parent), 'waits', '1')
    end
  end
  set(r, 'links', parent .. '\30' .. root .. '\30' .. depth)
end

local function each_index(r, act)
  act(key_index_task(token(r.task)))
  if r.queue ~= 'task/' .. r.task then act(key_index_queue(token(r.queue))) end
  for tag in string.gmatch(r.tags or '', '[^\31]+') do act(key_index_tag(token(tag))) end
end

-- What a run is: Celery's id, task, queue, parent, root, packet type of the payload ('' without one), and 1
-- if the sender does not know the task's function. It is what the message of the lowest position says,
-- and of those who speak of it, one who knows the function.
local function describe(r, position, about, payload)
  local task_id, task, queue, parent, root, ptype, blind = string.match(about,
    '^([^\31]*)\31([^\31]*)\31([^\31]*)\31([^\31]*)\31([^\31]*)\31([^\31]*)\31(1?)$')
  local at = (tonumber(position) or 0) + (blind == '1' and 0.5 or 0)
  local known = r.task
  if known and (ptype == '' or (r.at and r.at <= at)) then return end
  if known and (r.task ~= task or r.queue ~= queue) then
    each_index(r, function(name) redis.call('ZREM', name, r.id) end)
  end
  r.moved = true
  r.task, r.queue, r.parent, r.root = task, queue, parent, root
  set(r, 'tid', task_id)
  set(r, 'task', task)
  set(r, 'queue', queue)
  if ptype == '' then return end
  r.at = at
  set(r, 'at', at)
  if known or ptype ~= 'application/json' then set(r, 'ptype', ptype) end
  r.short, r.payload = #payload <= 64 and payload or false, #payload > 64 and payload or false
  if known then
    redis.call('HDEL', key_run(r.id), 'payload')
    redis.call('DEL', key_payload(r.id))
  end
  if r.short then set(r, 'payload', payload) end
end
