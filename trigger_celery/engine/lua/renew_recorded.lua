-- renew_recorded: says that executions of recorded runs are under way. One that was presumed lost is not.
-- KEYS  scope
-- ARGV  lease retention error items...
--       One item: run id, position, execution.
-- REPLY ok
-- TTL   of all that a run has: as record_runs
-- INCLUDE clock
local now = clock()
-- INCLUDE change
-- INCLUDE data
-- INCLUDE standing
-- INCLUDE recorded
for i = items, #ARGV, 3 do
  local id, place = ARGV[i], ARGV[i + 1] .. ':' .. ARGV[i + 2]
  local r = read_recorded(id)
  if r and r.facts['s' .. place] and not r.facts['e' .. place] then
    if r.facts['l' .. place] then
      redis.call('HDEL', key_run(id), 'l' .. place)
      r.facts['l' .. place], r.changed = nil, true
      settle_recorded(r, tonumber(retention), tonumber(lease), error)
    elseif r.status == 'EXECUTING' then
      if now - r.created > DAY / 2 then
        local s = { status = r.status, due = 0 }
        expire_recorded(r, s, keep_recorded(r, s, tonumber(retention)))
      end
      gather('ZADD', key_recorded(), int(now + lease), id)
    end
  end
end
write_gathered()
return 'ok'
