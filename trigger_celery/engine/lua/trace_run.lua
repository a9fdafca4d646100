-- trace_run: the changes of a run that the caller has not seen, newest first, by going back in the
-- feed: however much happens to other runs, what has just happened to this one is at its end.
-- Examines a bounded number of entries.
-- KEYS  scope
-- ARGV  run_id seen before most
--       seen: number of the last change the caller knows. before: the entry to go back from, or ''.
-- REPLY {number of the run's last change, entry to go on from or '', {entry, run, status, change number, data}…}
--       | empty when unknown; data: 1 when the status did not change, else ''
-- TTL   none
local last = redis.call('HGET', key_run(run_id), 'n')
if not last then return {} end
local reply = { last, '' }
if tonumber(last) <= tonumber(seen) then return reply end
local start = before == '' and '+' or '(' .. before
local found = redis.call('XREVRANGE', key_changes(), start, '-', 'COUNT', most)
for _, entry in ipairs(found) do
  local fields = entry[2]
  if fields[2] == run_id then
    if tonumber(fields[6]) <= tonumber(seen) then return reply end
    reply[#reply + 1] = { entry[1], run_id, fields[4], fields[6], fields[8] or '' }
    if tonumber(fields[6]) == tonumber(seen) + 1 then return reply end
  end
end
if #found == tonumber(most) then reply[2] = found[#found][1] end
return reply
