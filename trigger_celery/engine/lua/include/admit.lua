-- What a trigger with options of its own means: a new run, or one that is there already. Such an
-- item's details begin with JSON (engine/admission.py): opts, the options as they are stored; ttl ms;
-- idem, keep, the hash of an idempotency key and its ms; deb, every, most, last, the hash of a debounce
-- key, its ms, and 1 when the last call counts; own, options the trigger itself names; at, the item's
-- place in its batch; celery and tid, what Celery says of it and its id; tags, metadata, max, maxdur: 1 when given.
-- declared: what workers say of a task that the caller does not know.
-- Returns the options, the other details, and what to answer when no run is to be made.
-- RARE
local function admit(id, payload, details, declared, now)
  local packed, rest = string.match(details, '^({[^\30]*})\30?(.*)$')
  local x = cjson.decode(packed or '{}')
  if not packed then rest = details end

  local function declare()
    local opts = cjson.decode(x.opts or '{}')
    local own = ' ' .. (x.own or '') .. ' '
    if declared.ttl and not string.find(own, ' ttl ', 1, true) then
      x.ttl, opts.ttl = declared.ttl[1], declared.ttl[2]
      if x.ttl == 0 then x.ttl, opts.ttl = nil, nil end
    end
    if declared.machine and not string.find(own, ' machine ', 1, true) then
      opts.machine = declared.machine
    end
    x.opts = next(opts) and cjson.encode(opts)
  end

  -- A call that is sent again, or a replay, is answered as before.
  local function answered()
    if x.at then
      local kept = redis.call('LINDEX', key_batch_runs(batch), x.at)
      return kept and kept ~= id and kept
    end
    local before = path ~= '' and redis.call('HGET', key_calls(parent), path)
    return before and string.match(before, '^[^\31]*\31(run_%w+)$')
  end

  local function replace(found, run, f)
    if not x.last then return end
    local _, _, _, ptype, tags, metadata = parts_of(rest)
    local fields = {}
    local function put(name, value)
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
    redis.call('HDEL', key_run(found), 'payload', 'ptype')
    if ptype ~= 'application/json' then put('ptype', ptype) end
    if #payload <= 64 then
      put('payload', payload)
      redis.call('DEL', key_payload(found))
    else
      redis.call('SET', key_payload(found), payload)
    end
    if x.metadata then
      -- Changes from outside were of what this replaces; who folds them just now is too late.
      redis.call('DEL', key_metadata_changes(found), key_metadata_before(found))
      redis.call('SET', key_metadata(found), metadata)
      redis.call('HSET', key_run(found), 'data', '1', 'metadata_bytes', '0')
      redis.call('HINCRBY', key_run(found), 'metadata_folds', 1)
    end
    if x.max then put('max', max) end
    if x.maxdur then put('maxdur', max_duration) end
    if x.machine then
      local opts = cjson.decode(f[7] or '{}')
      opts.machine = x.machine
      put('opts', cjson.encode(opts))
      place_on(found, x.machine, own_lane(f[10], f[11]))
    end
    if x.tags then
      for tag in string.gmatch(f[6] or '', '[^\31]+') do
        redis.call('ZREM', key_index_tag(token(tag)), found)
      end
      for tag in string.gmatch(tags, '[^\31]+') do
        redis.call('ZADD', key_index_tag(token(tag)), run.created, found)
      end
      put('tags', tags)
    end
    return unpack(fields)
  end

  local function put_off()
    local found = redis.call('GET', key_debounce(x.deb))
    if not found then return nil end
    local f = redis.call('HMGET', key_run(found), 'status', 'deb', 'due', 'created', 'n', 'tags',
      'opts', 'watch', 'pushed', 'lane', 'base', 'started')
    if f[9] == id then return found end
    if f[2] ~= x.deb or f[12] then return nil end
    if f[1] ~= 'DELAYED' and f[1] ~= 'PENDING_VERSION' then return nil end
    local due, planned = math.floor((now + x.every) / 1000) * 1000, tonumber(f[3])
    if x.most and due > tonumber(f[4]) + x.most then return nil end
    local later = due > planned
    if not (later or x.last) then return found end
    local run = { id = found, before = f[1], created = f[4], n = f[5], watched = f[8] }
    if later then
      if f[1] == 'DELAYED' then redis.call('ZADD', key_timers(), int(due), found) end
      redis.call('PEXPIRE', key_debounce(x.deb), int(due - now + 86400000))
      redis.call('HSET', key_run(found), 'due', int(due), 'queued', int(due))
    end
    change(run, f[1], now, 'pushed', id, replace(found, run, f))
    return found
  end

  if declared then declare() end
  local found = answered() or (x.idem and keyed_run(x.idem, now)) or (x.deb and put_off())
  if not found then return x, rest end
  if x.at then count_too(found, id, x.at) end
  if parent ~= '' then keep(found, key_run(found), parent) end
  return x, rest, 'cached ' .. found
end
