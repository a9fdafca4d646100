-- sweep_sessions: takes runs from sessions whose lease has lapsed, at most `count` per call.
-- After an outage of the server or of all sweepers every lease looks lapsed: then nothing is
-- taken for the length of one lease, so that live sessions can renew.
-- KEYS  scope
-- ARGV  op_id gap lease count error retention
-- REPLY {runs taken, sessions ended, 1 if more may be waiting, ms held off, id>status…}
-- TTL   final runs: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE settle
-- INCLUDE recover
local now = clock()
local seen = redis.call('HMGET', key_env(), 'swept', 'hold')
redis.call('HSET', key_env(), 'swept', int(now))
local held = tonumber(seen[2] or '0')
if not seen[1] or math.abs(now - tonumber(seen[1])) > tonumber(gap) then
  held = now + tonumber(lease)
  redis.call('HSET', key_env(), 'hold', int(held))
end
if now < held then return { 0, 0, 0, int(held - now), {} } end

local taken, ended, freed = {}, 0, {}
local left = tonumber(count)
local lapsed = redis.call('ZRANGEBYSCORE', key_workers(), '-inf', int(now), 'LIMIT', 0, 10)
for _, session in ipairs(lapsed) do
  local owned = redis.call('SRANDMEMBER', key_owned(session), left)
  for _, id in ipairs(owned) do
    local after = recover(id, session, op_id, error, true, tonumber(retention), now, freed)
    if after then taken[#taken + 1] = id .. '>' .. after end
    left = left - 1
  end
  if redis.call('EXISTS', key_owned(session)) == 0 then
    forget(session)
    ended = ended + 1
  end
  if left <= 0 then break end
end
write_gathered()
regain_all(now)
reoffer(freed, '', now)
return { #taken, ended, left <= 0 and 1 or 0, '0', taken }
