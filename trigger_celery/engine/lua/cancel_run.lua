-- cancel_run: ends a run that has not started: PENDING_VERSION, DELAYED, QUEUED or DEQUEUED ->
-- CANCELED. Of a final run nothing changes; an executing one is not touched.
-- KEYS  scope
-- ARGV  op_id run_id error retention
-- REPLY ok | final | started | gone, and the status
-- TTL   run: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE seal
local now = clock()
local f = redis.call('HMGET', key_run(run_id), 'status', 'lane', 'created', 'n', 'watch', 'owner',
  'epoch', 'task', 'op')
local status = f[1]
if not status then return { 'gone', '' } end
if f[9] == op_id then return { 'ok', status } end
if FINAL[status] then return { 'final', status } end
if not (legal(status, 'CANCELED') and status ~= 'EXECUTING' and status ~= 'WAITING') then
  return { 'started', status }
end
local freed = {}
redis.call('ZREM', key_timers(), run_id)
redis.call('ZREM', key_parked(token(f[8])), run_id)
withdraw(run_id, f[2])
if f[6] then release(run_id, f[2], f[6], freed) end
seal_with(run_id, error, tonumber(retention), now)
local run = { id = run_id, before = status, created = f[3], n = f[4], watched = f[5] }
change(run, 'CANCELED', now, 'op', op_id, 'finished', int(now),
  'epoch', int(tonumber(f[7] or '0') + 1))
reoffer(freed, '')
return { 'ok', 'CANCELED' }
