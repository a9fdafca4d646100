-- revoke_runs: cancels runs as Celery's `revoke` means it: those that have not begun, or wait for
-- another attempt. One that executes, waits, or goes on after a wait is left alone, unless *all*.
-- KEYS  scope
-- ARGV  op_id all error retention runs...
--       all: 1 to cancel in any state that is not final.
-- REPLY per run: ok | under_way | final | gone | recorded
-- TTL   run: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE settle
-- INCLUDE cancel
local now = clock()
local freed, answers = {}, {}
local function is_under_way(id)
  local f = redis.call('HMGET', key_run(id), 'status', 'since', 'resume', 'resuming')
  if f[1] == 'EXECUTING' then return tonumber(f[2] or '0') <= now end
  return f[1] == 'WAITING' or (f[1] == 'QUEUED' and (f[3] or f[4]))
end

for i = runs, #ARGV do
  local id = ARGV[i]
  if all ~= '1' and is_under_way(id) then
    answers[#answers + 1] = 'under_way'
  else
    answers[#answers + 1] = cancel(id, op_id, error, tonumber(retention), now, freed)
  end
end
reoffer(freed, '', now)
return answers
