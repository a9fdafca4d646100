-- evict_runs: a process gives up the memory of waiting runs; they are replayed when they can go on.
-- KEYS  scope
-- ARGV  if_needed runs...
--       if_needed 1: only when other runs wait for a process of the same worker queue. Runs: id,
--       epoch.
-- REPLY per run: evicted | kept | granted (it was told to go on meanwhile) | stale
-- TTL   none
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
local answers = {}
local function evict(id, epoch)
  local f = redis.call('HMGET', key_run(id), 'status', 'epoch', 'owner', 'resuming', 'lane',
    'queued', 'prio')
  local after = int(tonumber(epoch) + 1)
  if f[2] == after and not f[3] and not FINAL[f[1]] then return 'evicted' end
  if f[2] ~= epoch then return 'stale' end
  if f[1] == 'EXECUTING' then return 'granted' end
  if f[1] ~= 'WAITING' and not f[4] then return 'stale' end
  if if_needed == '1' and redis.call('EXISTS', key_ready((split(f[5])))) == 0 then return 'kept' end
  if f[3] then redis.call('SREM', key_owned(f[3]), id) end
  redis.call('HSET', key_run(id), 'epoch', after)
  abandon(id, { status = f[1], lane = f[5], queued = f[6], prio = f[7] })
  return 'evicted'
end
for i = runs, #ARGV, 2 do answers[#answers + 1] = evict(ARGV[i], ARGV[i + 1]) end
return answers
