-- Timers of queues: what a rate held back may start again, and what a process that is gone left undone
-- after it changed limits or declared something.

-- lane:<lane>, gate:<queue>
local function reopen(kind, id)
  local wq, q, k = split(id)
  if kind == 'lane' then
    if redis.call('EXISTS', key_lane(id)) == 1 then
      offer(id, wq, q, k)
      wake(wq, 1)
    end
    return
  end
  for name in string.gmatch(record(id)[3] or '', '%x+') do
    open_gate(name, id)
    wake(name, 1)
  end
end

-- look:<queue>:<cursor>
local function look_on(id, now)
  local q, cursor = string.match(id, '^(%x*):(%d*)$')
  if cursor == '0' then regain_queue(q, now) end
  local following = look_at_lanes(q, cursor)
  if following ~= '0' then
    redis.call('ZADD', key_timers(), now, timer_look(q .. ':' .. following))
  end
end

-- release:task:<task>, release:queue:<queue>
local function release_parked(id, now)
  local kind, name = string.match(id, '^(%l+):(%x*)$')
  local parked = kind == 'task' and key_parked(name) or key_parked_queue(name)
  if unpark(parked, 100, now) == 100 then
    redis.call('ZADD', key_timers(), now, timer_release(id))
  end
end
