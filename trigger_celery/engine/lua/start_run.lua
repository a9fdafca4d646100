-- start_run: DEQUEUED -> EXECUTING, once per epoch, as a new attempt or the one that waited. The first caller begins; any other is stale.
-- KEYS  scope
-- ARGV  op_id run_id epoch
-- REPLY {ok, attempt} | {stale}
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
local now = clock()
local f = redis.call('HMGET', key_run(run_id), 'status', 'epoch', 'op', 'attempt', 'created',
  'n', 'watch', 'started', 'resume')
if f[2] ~= epoch then return { 'stale' } end
if f[1] == 'EXECUTING' and f[3] == op_id then return { 'ok', f[4] } end
if f[1] ~= 'DEQUEUED' then return { 'stale' } end
local attempt = f[4]
if f[9] then
  redis.call('HDEL', key_run(run_id), 'resume')
  redis.call('HSET', key_run(run_id), 'resumed', '1')
else
  attempt = int(tonumber(f[4] or '0') + 1)
end
local run = { id = run_id, before = f[1], created = f[5], n = f[6], watched = f[7] }
change(run, 'EXECUTING', now, 'op', op_id, 'attempt', attempt, 'since', now,
  'started', f[8] or now)
write_gathered()
return { 'ok', attempt }
