-- reschedule_run: moves the start of a run to an earlier or a later time: of one that is DELAYED, or
-- that is PENDING_VERSION and will be.
-- KEYS  scope
-- ARGV  op_id run_id mode amount
--       mode: in | at and ms.
-- REPLY ok | gone | recorded | the status that does not allow it
-- TTL   debounce key: until the run starts + 1 day
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
local now = clock()
local f = redis.call('HMGET', key_run(run_id), 'status', 'created', 'n', 'watch', 'deb',
  'due', 'op', 'rec')
if not f[1] then return 'gone' end
if f[8] then return 'recorded' end
if f[7] == op_id then return 'ok' end
local parked = f[1] == 'PENDING_VERSION' and tonumber(f[6] or '0') > now
if not (parked or f[1] == 'DELAYED') then return f[1] end
local due = mode == 'in' and now + tonumber(amount) or math.max(now, tonumber(amount))
if not parked then redis.call('ZADD', key_timers(), int(due), run_id) end
if f[5] and redis.call('GET', key_debounce(f[5])) == run_id then
  redis.call('PEXPIRE', key_debounce(f[5]), int(due - now + 86400000))
end
local run = { id = run_id, before = f[1], created = f[2], n = f[3], watched = f[4] }
change(run, f[1], now, 'op', op_id, 'due', int(due), 'queued', int(due))
hurry(due, now)
return 'ok'
