-- What a recorded run is, and where it is listed.
local function token(text)
  return string.sub(redis.sha1hex(text), 1, 20)
end

local function set(r, name, value)
  r.fields[#r.fields + 1] = name
  r.fields[#r.fields + 1] = value
end

-- INCLUDE family

local function each_index(r, act)
  act(key_index_task(token(r.task)))
  if r.queue ~= 'task/' .. r.task then act(key_index_queue(token(r.queue))) end
  for tag in string.gmatch(r.tags or '', '[^\31]+') do act(key_index_tag(token(tag))) end
  if r.labels then act(key_index_label(r.labels)) end
end

-- A message that repeats another: the run, the bulk action or '', and tags, by U+001E. Its producer tells.
local function repeat_another(r, again)
  local run, bulk, tags = string.match(again, '^([^\30]*)\30([^\30]*)\30?(.*)$')
  if r.again then return end
  r.again = true
  set(r, 'opts', '{"replay":"' .. run .. '"}')
  if bulk ~= '' then
    r.labels = bulk
    set(r, 'labels', bulk)
  end
  if tags ~= '' and not r.tags then
    r.tags = string.gsub(tags, '\30', '\31')
    set(r, 'tags', r.tags)
  end
end

-- What is beside the payload: how the message was sent, and its body if that begins with b.
local function describe_message(r, sent, payload)
  if r.sent then redis.call('DEL', key_message(r.id)) end
  if sent ~= '' or r.sent then set(r, 'sent', sent) end
  r.sent, r.message = sent ~= '' and sent or nil, false
  if string.sub(sent, 1, 1) ~= 'b' then return payload end
  payload, r.message = string.match(payload, '^([^\31]*)\31(.*)$')
  return payload
end

-- What a run is: Celery's id, task, queue, parent, root, packet type of the payload ('' without one), 1 if
-- the sender does not know the task's function, how the message was sent, and what it repeats. It is
-- what the message of the lowest position says, and of those who speak of it, one who knows the function.
local ABOUT = '^' .. string.rep('([^\31]*)\31', 6) .. '(1?)\31([^\31]*)\31(.*)$'
local function describe(r, position, about, payload)
  local task_id, task, queue, parent, root, ptype, blind, sent, again = string.match(about, ABOUT)
  local at = (tonumber(position) or 0) + (blind == '1' and 0.5 or 0)
  local known = r.task
  if again ~= '' then repeat_another(r, again) end
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
  if sent ~= '' or r.sent then payload = describe_message(r, sent, payload) end
  r.short, r.payload = #payload <= 64 and payload or false, #payload > 64 and payload or false
  if known then
    redis.call('HDEL', key_run(r.id), 'payload')
    redis.call('DEL', key_payload(r.id))
  end
  if r.short then set(r, 'payload', payload) end
end
