-- change_metadata: appends changes to the metadata of runs, all or none: of an attempt to its own run
-- and to those above it, or from outside to one run. They are folded in by whoever reads.
-- KEYS  scope
-- ARGV  op_id run_id epoch items...
--       run_id: '' from outside. One item: target run id, changes as a JSON array.
-- REPLY {ok, per item: word, number of changes that are not folded in, their bytes} | {again | stale}
--       | {full, target}; words: ok | gone (no such run) | late (it ended more than an hour ago)
-- TTL   of a final run: what is left of its record's
-- INCLUDE clock
-- INCLUDE touch
-- INCLUDE data
-- INCLUDE holder
local now = clock()
local MOST_CHANGES, MOST_BYTES, OPEN_AFTER_END = 1000, 4194304, 3600000
-- Calls of an attempt follow each other, so the last one is all that can be repeated.
local caller, field = run_id, 'metadata_op'
if run_id == '' then caller, field = ARGV[items], 'metadata_put' end
local own = redis.call('HMGET', key_run(caller), 'status', 'epoch', 'resuming', field)
if own[4] == op_id then return { 'again' } end
if run_id ~= '' and not is_holder(own, epoch) then return { 'stale' } end

local states = {}
for i = items, #ARGV, 2 do
  local id = ARGV[i]
  local f = redis.call('HMGET', key_run(id), 'status', 'n', 'watch', 'finished', 'attempt')
  f.bytes = redis.call('HGET', key_run(id), 'metadata_bytes')
  f.bytes = tonumber(f.bytes or '0') + #ARGV[i + 1]
  f.count = redis.call('LLEN', key_metadata_changes(id)) + 1
  f.word = 'ok'
  if not f[1] then
    f.word = 'gone'
  elseif f[4] and now - tonumber(f[4]) > OPEN_AFTER_END then
    f.word = 'late'
  elseif f.count > MOST_CHANGES or (f.count > 1 and f.bytes > MOST_BYTES) then
    return { 'full', id }
  end
  states[#states + 1] = f
end

-- Keeps what the run was triggered with, and what the attempt began with: a replay starts from it.
local function keep(id, attempt)
  local seen = redis.call('HGET', key_metadata_before(id), 'attempt')
  if seen == attempt then return end
  local text = redis.call('GET', key_metadata(id)) or ''
  if not seen then
    redis.call('HSET', key_metadata_before(id), 'attempt', attempt, 'seed', text)
    return
  end
  redis.call('HSET', key_metadata_before(id), 'attempt', attempt, 'start', text, 'start_changes',
    '[' .. table.concat(redis.call('LRANGE', key_metadata_changes(id), 0, -1), ',') .. ']')
end

local reply = { 'ok' }
for index, f in ipairs(states) do
  local id = ARGV[items + 2 * index - 2]
  if f.word == 'ok' then
    keep(id, f[5] or '0')
    redis.call('RPUSH', key_metadata_changes(id), ARGV[items + 2 * index - 1])
    touch(id, f, now, 'data', '1', 'metadata_bytes', f.bytes)
    -- The next item may be for the same run.
    if states[index + 1] and ARGV[items + 2 * index] == id then states[index + 1][2] = f[2] + 1 end
    if f[4] then all_data('PEXPIRE', id, redis.call('PTTL', key_run(id))) end
  end
  reply[#reply + 1] = f.word
  reply[#reply + 1] = f.count
  reply[#reply + 1] = f.bytes
end
if own[1] then redis.call('HSET', key_run(caller), field, op_id) end
return reply
