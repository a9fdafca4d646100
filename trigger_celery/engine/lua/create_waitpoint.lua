-- create_waitpoint: makes a waitpoint, or finds the one that its id or idempotency key names.
-- KEYS  scope
-- ARGV  id type mode amount key key_ttl tags run_id path call retention
--       type: DATETIME | TOKEN. mode: in | at and ms: when a DATETIME is reached, when a TOKEN
--       times out. key: '' or an idempotency key. run_id: '' or the run whose durable call at
--       `path` this is: a replay answers with the same waitpoint.
-- REPLY {created | cached | again, waitpoint id} | {mismatch, what the run asked before}
-- TTL   waitpoint: once ended; idempotency key: key_ttl
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE complete
-- INCLUDE keep
local now = clock()

local function noted()
  local before = run_id ~= '' and redis.call('HGET', key_calls(run_id), path)
  if not before then return nil end
  local asked, found, word = string.match(before, '^([^\31]*)\31([^\31]*)\31(.*)$')
  if asked ~= call then return { 'mismatch', asked or before } end
  return { word == 'cached' and word or 'again', found }
end

local function note(found, word)
  local status = run_id ~= '' and redis.call('HGET', key_run(run_id), 'status')
  if (status == 'EXECUTING' or status == 'WAITING')
    and redis.call('HLEN', key_calls(run_id)) < MAX_CALLS then
    redis.call('HSET', key_calls(run_id), path, call .. '\31' .. found .. '\31' .. word)
    redis.call('HSET', key_run(run_id), 'waits', '1')
    keep(found, key_waitpoint(found), run_id)
  end
  return { word, found }
end

local before = noted()
if before then return before end
if redis.call('EXISTS', key_waitpoint(id)) == 1 then return note(id, 'again') end
if key ~= '' then
  local found = redis.call('GET', key_wait_key(token(type .. ' ' .. key)))
  local until_ms = found and redis.call('HGET', key_waitpoint(found), 'key_until')
  if until_ms and tonumber(until_ms) > now then return note(found, 'cached') end
  redis.call('SET', key_wait_key(token(type .. ' ' .. key)), id, 'PX', key_ttl)
end
local due = mode == 'in' and now + tonumber(amount) or tonumber(amount)
redis.call('HSET', key_waitpoint(id), 'type', type, 'status', 'WAITING', 'created', now,
  'due', int(due))
if key ~= '' then
  redis.call('HSET', key_waitpoint(id), 'key', key, 'key_until', int(now + tonumber(key_ttl)))
end
if tags ~= '' then redis.call('HSET', key_waitpoint(id), 'tags', tags) end
if type == 'TOKEN' then redis.call('ZADD', key_tokens(), now, id) end
if due <= now then
  complete(id, type == 'TOKEN' and 'TIMED_OUT' or 'COMPLETED', 'application/json', nil,
    tonumber(retention), now)
else
  redis.call('ZADD', key_timers(), int(due), timer_waitpoint(id))
  hurry(due, now)
end
return note(id, 'created')
