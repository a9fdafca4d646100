-- read_streams: the next chunks of all streams of a run.
-- KEYS  scope
-- ARGV  run_id positions...
--       One position: token of a stream, the last entry seen of it. Others are read from the start.
-- REPLY {number of the run's last change, {token, name, {entry, chunk | end, text}…}…} | empty when unknown
-- TTL   none
-- INCLUDE entries
local n = redis.call('HGET', key_run(run_id), 'n')
if not n then return {} end
local seen = {}
for i = positions, #ARGV, 2 do seen[ARGV[i]] = ARGV[i + 1] end
local reply = { n }
local streams = redis.call('HGETALL', key_streams(run_id))
for i = 1, #streams, 2 do
  local found = entries_after(key_stream(streams[i], run_id), seen[streams[i]] or '0-0')
  if #found > 0 then
    table.insert(found, 1, streams[i + 1])
    table.insert(found, 1, streams[i])
    reply[#reply + 1] = found
  end
end
return reply
