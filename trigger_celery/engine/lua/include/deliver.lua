-- Hands a run to an idle session without being asked: one round trip less before it starts. The
-- session finds it in its mailbox; what is lost on the way, the session's audit gives back.
local function deliver(wq, now, us)
  local session = redis.call('ZPOPMIN', key_idle(wq))[1]
  if not session then return end
  local message = 'work'
  local limit = environment_limit()
  local open = not limit or tonumber(limit) > redis.call('ZCARD', key_slots())
  if open and redis.call('HGET', key_worker(session), 'direct') == '1'
    and redis.call('ZSCORE', key_workers(), session) then
    local popped, runs = redis.call('ZPOPMIN', key_ready(wq)), {}
    if popped[1] then
      take_lane(popped[1], popped[2], 1, session, true, now, us, runs, {}, true)
      write_gathered()
      if runs[1] then message = 'run ' .. runs[1] end
    end
  end
  post(session, message)
end
