-- sweep_recorded: looks at recorded runs nobody spoke of in time: an execution whose process is silent is
-- presumed lost, EXECUTING -> CRASHED, until it is heard of again; what is due is DELAYED -> QUEUED.
-- After an outage nobody is presumed lost for as long as sweep_sessions, which is called first, holds off.
-- KEYS  scope
-- ARGV  count lease retention error
-- REPLY {number looked at, id…}: the ids of those that are presumed lost
-- TTL   of all that a run has: as record_runs
-- INCLUDE clock
local now = clock()
-- INCLUDE change
-- INCLUDE data
-- INCLUDE standing
-- INCLUDE recorded
local held = now < tonumber(redis.call('HGET', key_env(), 'hold') or '0')

local function presume_lost(r)
  for field in pairs(r.facts) do
    local place = string.match(field, '^s(.*)$')
    if place and not r.facts['e' .. place] then r.lost[#r.lost + 1] = 'l' .. place end
  end
  for _, field in ipairs(r.lost) do add_fact(r, field, now, '') end
end

local due = redis.call('ZRANGEBYSCORE', key_recorded(), '-inf', int(now), 'LIMIT', 0, count)
local reply = { held and 0 or #due }
for _, id in ipairs(due) do
  local r = read_recorded(id)
  if not (held and r and r.status == 'EXECUTING') then
    redis.call('ZREM', key_recorded(), id)
    if r and r.status == 'EXECUTING' then
      r.lost = {}
      presume_lost(r)
    elseif r then
      r.changed = r.status == 'DELAYED'
    end
    local after = r and settle_recorded(r, tonumber(retention), tonumber(lease), error)
    if after == 'CRASHED' then reply[#reply + 1] = id end
  end
end
write_gathered()
return reply
