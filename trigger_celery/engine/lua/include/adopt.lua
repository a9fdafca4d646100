-- Makes runs the children of the run that asks for them.
local parent_status
local function adopt(id, now)
  if parent_status == nil then
    parent_status = redis.call('HGET', key_run(parent), 'status') or false
  end
  if not parent_status then return end
  redis.call('SADD', key_children(parent), id)
  if parent_status == 'CANCELED' then
    redis.call('ZADD', key_timers(), now, 'cancel:' .. id)
    hurry(now, now)
  end
  if FINAL[parent_status] then
    redis.call('PEXPIRE', key_children(parent), redis.call('PTTL', key_run(parent)))
  end
end

local function note_call()
  if FINAL[parent_status or 'FAILED'] then return end
  redis.call('HSET', key_run(parent), 'waits', '1')
  -- Above the bound nothing is noted: the id of the run alone keeps a repeat harmless.
  if path ~= '' and redis.call('HLEN', key_calls(parent)) < MAX_CALLS then
    redis.call('HSET', key_calls(parent), path, call)
  end
end
