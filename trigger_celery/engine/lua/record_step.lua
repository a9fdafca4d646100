-- record_step: keeps the result of a step: the first one counts, and outlives the attempt.
-- KEYS  scope
-- ARGV  run_id epoch name ptype data
--       name: the step's name and which of that name it is.
-- REPLY {ok | again, packet type, result} | {stale}
-- TTL   none
local f = redis.call('HMGET', key_run(run_id), 'status', 'epoch')
if f[2] ~= epoch or (f[1] ~= 'EXECUTING' and f[1] ~= 'WAITING') then return { 'stale' } end
local before = redis.call('HGET', key_steps(run_id), name)
if before then
  local kind, result = string.match(before, '^([^\31]*)\31(.*)$')
  return { 'again', kind, result }
end
redis.call('HSET', key_steps(run_id), name, ptype .. '\31' .. data)
return { 'ok', ptype, data }
