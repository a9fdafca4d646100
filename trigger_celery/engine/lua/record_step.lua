-- record_step: keeps the result of a step: the first one counts, and outlives the attempt.
-- KEYS  scope
-- ARGV  run_id epoch path call name ptype data
--       path, call: where in the run, and what it asked for. name: the step's name and which of
--       that name it is.
-- REPLY {ok | again, packet type, result} | {stale | full}
-- TTL   none
local f = redis.call('HMGET', key_run(run_id), 'status', 'epoch', 'resuming')
if f[2] ~= epoch or not (f[1] == 'EXECUTING' or f[1] == 'WAITING' or f[3]) then
  return { 'stale' }
end
redis.call('HSET', key_calls(run_id), path, call)
redis.call('HSET', key_run(run_id), 'waits', '1')
local before = redis.call('HGET', key_steps(run_id), name)
if before then
  local kind, result = string.match(before, '^([^\31]*)\31(.*)$')
  return { 'again', kind, result }
end
if redis.call('HLEN', key_steps(run_id)) >= MAX_CALLS then return { 'full' } end
redis.call('HSET', key_steps(run_id), name, ptype .. '\31' .. data)
return { 'ok', ptype, data }
