-- What a queue and the environment allow, read once a call.
local function token(text)
  return string.sub(redis.sha1hex(text), 1, 20)
end

local function split(lane)
  return string.match(lane, '^(%x*):(%x*):(%x*)$')
end

-- The same lane in the worker queue where workers declared the task; a run may have been created
-- before any of them was there.
local function lane_of(task, lane)
  local known = redis.call('HGET', key_tasks(), task)
  local name = known and string.match(known, '^[^\31]*\31([^\31]*)')
  if not name then return lane end
  local _, q, k = split(lane)
  return token(name) .. ':' .. q .. ':' .. k
end

-- limit, paused, served, name, declared, gates, size, room
local records = {}
local function record(q)
  local f = records[q]
  if not f then
    f = redis.call('HMGET', key_queue(q), 'limit', 'paused', 'served', 'name', 'declared', 'gates',
      'size', 'room')
    records[q] = f
  end
  return f
end

-- The limit, the most that one queue may have of it (cap, if the environment may burst), paused.
local environment_read
local function environment()
  if not environment_read then
    environment_read = redis.call('HMGET', key_env(), 'limit', 'cap', 'paused')
  end
  return environment_read
end

local function environment_room()
  local e = environment()
  if e[3] then return 0 end
  return e[1] and tonumber(e[1]) - redis.call('ZCARD', key_slots()) or math.huge
end

-- What bounds a queue over all its keys, and the rate of each key; false for most queues. Rates are
-- the µs from one start to the next (every), and how many may start at once (burst).
local function gate(q)
  local f = record(q)
  if f.gate ~= nil then return f.gate end
  local cap = environment()[2]
  f.gate = false
  if f[6] or cap then
    local total, every, burst, key_every, key_burst =
      string.match(f[6] or '::::', '^(%d*):(%d*):(%d*):(%d*):(%d*)$')
    f.gate = {
      total = math.min(tonumber(total) or math.huge, tonumber(cap) or math.huge),
      every = tonumber(every), burst = tonumber(burst),
      key_every = tonumber(key_every), key_burst = tonumber(key_burst),
    }
    f.gate.whole = f.gate.total < math.huge or f.gate.every
  end
  return f.gate
end

-- Free slots of one key: each has the queue's whole limit to itself.
local function room_of_key(q, k)
  local f = record(q)
  if f[2] then return 0 end
  if not f[1] then return math.huge end
  return tonumber(f[1]) - redis.call('ZCARD', key_key_slots(q, k))
end

-- Free slots over all keys.
local function room_of_queue(q)
  local g = gate(q)
  if record(q)[2] then return 0 end
  if not g or g.total == math.huge then return math.huge end
  return g.total - redis.call('ZCARD', key_queue_slots(q))
end

-- Free slots for a run of this key.
local function room(q, k)
  return math.min(room_of_key(q, k), room_of_queue(q))
end
