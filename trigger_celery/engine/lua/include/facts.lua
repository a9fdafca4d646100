-- What is known of a recorded run, and what a call adds to it.
local MAX_FACTS = 1000

-- nil: there is a run of the engine with this id, which is not for us.
local function read_recorded(id)
  local flat = redis.call('HGETALL', key_run(id))
  local f, facts = {}, {}
  for i = 1, #flat, 2 do
    local name = flat[i]
    if string.find(name, '^[psel][%d~]') then facts[name] = flat[i + 1] else f[name] = flat[i + 1] end
  end
  if f.status and not f.rec then return nil end
  return { id = id, status = f.status, created = tonumber(f.created), n = f.n or 0, watch = f.watch,
    task = f.task, queue = f.queue, at = tonumber(f.at), tags = f.tags, labels = f.labels, sent = f.sent, win = f.win or '', data = f.data,
    short = f.payload, due = f.due, waits = f.waits, links = f.links, facts = facts, count = #flat / 2,
    new = {}, fields = {}, outputs = {}, reasons = {}, first = now }
end

-- Forgets what the status does not depend on: old messages, and deliveries that went back to the broker.
-- RARE
local function make_room(r)
  local least, gone = highest(r.facts) - 100, {}
  for field, value in pairs(r.facts) do
    local position, place = string.match(field, '^%a(%d+)(.*)$')
    local went = string.match(value, '^%d+\31BACK\31') and position .. place
    if position and tonumber(position) < least then
      gone[#gone + 1] = field
    elseif went then
      gone[#gone + 1], gone[#gone + 2] = 's' .. went, 'e' .. went
    end
  end
  for _, field in ipairs(gone) do
    if r.facts[field] then r.count = r.count - 1 end
    r.facts[field], r.new[field], r.reasons[field] = nil, nil, nil
  end
  for i = 1, #gone, 1000 do
    local last = math.min(i + 999, #gone)
    redis.call('HDEL', key_run(r.id), unpack(gone, i, last))
    redis.call('HDEL', key_reasons(r.id), unpack(gone, i, last))
  end
end

-- A fact that is known stays as it was: the call may be a repeat.
local function add_fact(r, field, at, value)
  r.first = math.min(r.first, at)
  if r.facts[field] then return false end
  r.count = r.count + 1
  if r.count > MAX_FACTS then make_room(r) end
  r.facts[field] = int(at) .. value
  r.new[field] = r.facts[field]
  return true
end
