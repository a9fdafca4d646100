-- seal_batch: all runs of a batch are created; it ends with the last of them. While some do not
-- exist nothing is sealed: their creation may still be sent again.
-- KEYS  scope
-- ARGV  id
-- REPLY the batch's status, or gone
-- TTL   batch: run_retention + 7 days once ended
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE settle
local now = clock()
local status = redis.call('HGET', key_batch(id), 'status')
if not status then return 'gone' end

local function all_exist()
  local left = {}
  for _, run in ipairs(redis.call('SMEMBERS', key_batch_left(id))) do left[#left + 1] = key_run(run) end
  for i = 1, #left, 500 do
    local last = math.min(i + 499, #left)
    if redis.call('EXISTS', unpack(left, i, last)) ~= last - i + 1 then return false end
  end
  return true
end

-- Items that found their queue full.
local function note_full()
  local f = redis.call('HMGET', key_batch(id), 'full', 'errors')
  if not f[1] then return end
  local errors = cjson.decode(f[2] or '[]')
  for run in string.gmatch(f[1], '%S+') do
    local text = redis.call('GET', key_error(run))
    if text then  -- else it is pruned already
      local error = cjson.decode(text)
      errors[#errors + 1] = { redis.call('LPOS', key_batch_runs(id), run),
        redis.call('HGET', key_run(run), 'task'), error.message, error.code }
    end
  end
  redis.call('HSET', key_batch(id), 'errors', errors[1] and cjson.encode(errors) or '[]')
  redis.call('HDEL', key_batch(id), 'full')
end

if status == 'PROCESSING' and all_exist() then
  note_full()
  redis.call('HSET', key_batch(id), 'sealed', '1')
  redis.call('ZREM', key_timers(), timer_batch(id))
  count_batch(id, now)
  write_gathered()
end
return redis.call('HGET', key_batch(id), 'status')
