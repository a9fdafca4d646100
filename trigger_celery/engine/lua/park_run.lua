-- park_run: a run with several waits has nothing left to do: EXECUTING -> WAITING, its slot is
-- free. Not when one of its targets is done meanwhile, or there is none: then it goes on.
-- KEYS  scope
-- ARGV  run_id epoch rests targets...
--       rests: see include/rests.lua.
-- REPLY {parked | stale} | {ready, targets that are done…}
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE rests
local now = clock()
local f = redis.call('HMGET', key_run(run_id), 'status', 'epoch', 'lane', 'created', 'n', 'watch',
  'resuming')
if f[2] ~= epoch then return { 'stale' } end
if f[1] == 'WAITING' or f[7] then return { 'parked' } end
if f[1] ~= 'EXECUTING' then return { 'stale' } end
local ready = { 'ready' }
for i = targets, #ARGV do
  if redis.call('SISMEMBER', key_waiting(run_id), ARGV[i]) == 0 then ready[#ready + 1] = ARGV[i] end
end
if #ready > 1 or targets > #ARGV then return ready end
note_rests(rests)
local freed = {}
release(run_id, f[3], nil, freed)
change({ id = run_id, before = f[1], created = f[4], n = f[5], watched = f[6] }, 'WAITING', now)
reoffer(freed, '', now)
return { 'parked' }
