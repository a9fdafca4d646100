-- Queues runs that waited for their task or their queue to be declared: PENDING_VERSION -> QUEUED, or
-- DELAYED when their time is still to come. What lacks the other of the two waits for that.
-- INCLUDE places
-- INCLUDE machines
local WAITED = {
  'status', 'lane', 'created', 'n', 'watch', 'prio', 'queued', 'ttl', 'attempt', 'task', 'queue',
  'anyq', 'due', 'opts', 'base', 'fixed',
}

-- The preset and the TTL of a run that names none are those of its task. Returns the preset.
local function machine_of(id, f, known)
  local opts = cjson.decode(f[14] or '{}')
  if not known or not string.find(known, '"defaults":{', 1, true) then return opts.machine end
  local said = cjson.decode(string.match(known, '^[^\31]*\31[^\31]*\31%d+\31(.*)$')).defaults
  opts.machine = opts.machine or said.machine
  if said.ttl and said.ttl[1] > 0 and not (f[8] or opts.no_ttl) and tonumber(f[9] or '0') == 0 then
    f[8], opts.ttl = said.ttl[1], said.ttl[2]
    redis.call('HSET', key_run(id), 'ttl', f[8])
  end
  if next(opts) then redis.call('HSET', key_run(id), 'opts', cjson.encode(opts)) end
  return opts.machine
end

-- The queue of a run that named none is that of its task.
local function place_of(id, f)
  local known = redis.call('HGET', key_tasks(), f[10])
  local name, lane = f[11], own_lane(f[2], f[15])
  if not f[16] then lane = lane_of(f[10], lane) end
  if known and f[12] then
    name = string.match(known, '^[^\31]*')
    local wq, before, k = split(lane)
    lane = wq .. ':' .. token(name) .. ':' .. k
    redis.call('HDEL', key_run(id), 'anyq')
    if name ~= f[11] then
      redis.call('HSET', key_run(id), 'queue', name)
      redis.call('ZREM', key_index_queue(before), id)
      if name ~= 'task/' .. f[10] then redis.call('ZADD', key_index_queue(token(name)), f[3], id) end
    end
  end
  return place_on(id, machine_of(id, f, known), lane), name, known
end

local function unpark(parked, count, now)
  local found = redis.call('ZPOPMIN', parked, count)
  for i = 1, #found, 2 do
    local id = found[i]
    local f = redis.call('HMGET', key_run(id), unpack(WAITED))
    if f[1] == 'PENDING_VERSION' then
      local lane, name, known = place_of(id, f)
      local _, q = split(lane)
      local run = { id = id, before = f[1], created = f[3], n = f[4], watched = f[5] }
      if not known then
        redis.call('ZADD', key_parked(token(f[10])), f[3], id)
      elseif not is_queue_known(q, name, f[10]) then
        redis.call('ZADD', key_parked_queue(q), f[3], id)
      elseif f[13] and tonumber(f[13]) > now then
        change(run, 'DELAYED', now)
        redis.call('ZADD', key_timers(), f[13], id)
      else
        change(run, 'QUEUED', now)
        if f[8] and tonumber(f[9] or '0') == 0 then
          redis.call('HSET', key_run(id), 'released', now)
          redis.call('ZADD', key_timers(), int(now + f[8]), timer_expire(id))
        end
        enqueue(lane, { int(tonumber(f[7]) - tonumber(f[6] or '0')), id })
      end
    end
  end
  write_gathered()
  return #found / 2
end
