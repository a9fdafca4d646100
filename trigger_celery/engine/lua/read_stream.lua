-- read_stream: the next entries of one stream of a run.
-- KEYS  scope
-- ARGV  run_id stream after
--       stream: token of its name. after: the last entry seen.
-- REPLY {status of the run, ended or '', {entry, chunk | end, text}…} | empty when unknown
--       ended: the last of them is the stream's last entry, and says that no pipe is open.
-- TTL   none
-- INCLUDE entries
local status = redis.call('HGET', key_run(run_id), 'status')
if not status then return {} end
local reply = entries_after(key_stream(stream, run_id), after)
local s = redis.call('HMGET', key_stream_state(stream, run_id), 'chunks', 'marks', 'open')
local last = reply[#reply] and reply[#reply][1] or after
local ended = s[3] == '0' and s[2] ~= '0' and last == s[1] .. '-' .. s[2]
table.insert(reply, 1, ended and 'ended' or '')
table.insert(reply, 1, status)
return reply
