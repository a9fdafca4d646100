-- close_session: a worker leaves: its unstarted runs go back, waiting ones are
-- left to any worker, started ones get a new attempt (or end) at once instead of after the lease. At most `count` runs a call; the last call ends it.
-- KEYS  scope
-- ARGV  op_id session count error retention
-- REPLY {runs given back, 1 if more are left}
-- TTL   final runs: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE settle
-- INCLUDE recover
local now = clock()
local freed, taken = {}, 0
for _, id in ipairs(redis.call('SRANDMEMBER', key_owned(session), count)) do
  if recover(id, session, op_id, error, false, tonumber(retention), now, freed) then
    taken = taken + 1
  end
end
reoffer(freed, '', now)
local more = redis.call('EXISTS', key_owned(session))
if more == 0 then forget(session) end
return { taken, more }
