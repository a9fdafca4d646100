-- Hands a run to an idle session without being asked: one round trip less before it starts. The
-- session finds it in its mailbox; what is lost on the way, the session's audit gives back.
-- RARE
local function hand_over(session, wq, now, us)
  local message = 'work'
  if environment_room() > 0 and redis.call('HGET', key_worker(session), 'direct') == '1'
    and redis.call('ZSCORE', key_workers(), session) then
    local runs = {}
    take_next(wq, 1, session, true, now, us, runs, {}, true)
    write_gathered()
    if runs[1] then message = 'run ' .. runs[1] end
  end
  post(session, message)
end

local function deliver(wq, now, us)
  local session = redis.call('ZPOPMIN', key_idle(wq))[1]
  if session then hand_over(session, wq, now, us) end
end
