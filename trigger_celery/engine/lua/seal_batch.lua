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

if status == 'PROCESSING' and all_exist() then
  redis.call('HSET', key_batch(id), 'sealed', '1')
  redis.call('ZREM', key_timers(), timer_batch(id))
  count_batch(id, now)
  write_gathered()
end
return redis.call('HGET', key_batch(id), 'status')
