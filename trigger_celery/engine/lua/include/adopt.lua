-- Makes runs the children of the run that asks for them.
local parent_status, hurried
-- U+001F and the run that a call found instead of making one; '' when it made what it asked for.
local hit = ''
-- RARE
local function adopt(id, now)
  if parent_status == nil then
    parent_status = redis.call('HGET', key_run(parent), 'status') or false
  end
  redis.call('ZADD', key_children(parent), now, id)
  if not parent_status then
    -- A task that Celery's broker carries: its record may come later, or never.
    redis.call('PEXPIRE', key_children(parent), 86400000)
    return
  end
  if parent_status == 'CANCELED' then
    redis.call('ZADD', key_timers(), now, timer_cancel(id))
    if not hurried then hurry(now, now) end
    hurried = true
  end
  if FINAL[parent_status] then
    redis.call('PEXPIRE', key_children(parent), redis.call('PTTL', key_run(parent)))
  end
end

-- RARE
local function note_call()
  if hit ~= '' and parent_status == nil then
    parent_status = redis.call('HGET', key_run(parent), 'status') or false
  end
  if FINAL[parent_status or 'FAILED'] then return end
  redis.call('HSET', key_run(parent), 'waits', '1')
  -- Code that goes on after its attempt was taken away notes nothing for the next one. Above the
  -- bound nothing is noted either: the id of the run alone keeps a repeat harmless.
  if not (parent_status == 'EXECUTING' or parent_status == 'WAITING') then return end
  if path ~= '' and redis.call('HLEN', key_calls(parent)) < MAX_CALLS then
    redis.call('HSET', key_calls(parent), path, call .. hit)
  end
end
