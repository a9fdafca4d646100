-- append_stream: puts chunks at the end of a stream of a run. The entry of chunk i is `<i + 1>-0`;
-- the mark that says that no pipe is open any more stands behind the last chunk, as `<chunks>-<mark>`.
-- KEYS  scope
-- ARGV  op_id run_id epoch target stream name begins ends chunks...
--       run_id: '' from outside. stream: token of its name. begins, ends: 1 when a pipe begins or
--       ends with this call, else 0.
-- REPLY {ok, chunks so far} | {again | stale | gone | full}
-- TTL   of a final run: what is left of its record's
-- INCLUDE clock
-- INCLUDE touch
-- INCLUDE data
-- INCLUDE holder
local MOST_STREAMS, MOST_CHUNKS, MOST_BYTES, REMEMBERED = 100, 10000, 67108864, 128
local f = redis.call('HMGET', key_run(target), 'status', 'watch', 'finished', 'attempt', 'data')
if not f[1] then return { 'gone' } end
local state, entries = key_stream_state(stream, target), key_stream(stream, target)
local s = redis.call('HMGET', state, 'chunks', 'marks', 'bytes', 'open', 'attempt', 'ops')
if string.find(s[6] or '', op_id, 1, true) then return { 'again' } end
if run_id ~= '' then
  local own = redis.call('HMGET', key_run(run_id), 'status', 'epoch', 'resuming')
  if not is_holder(own, epoch) then return { 'stale' } end
end
if not s[1] and redis.call('HLEN', key_streams(target)) >= MOST_STREAMS then return { 'full' } end

local chunks_now, marks, bytes = tonumber(s[1] or '0'), tonumber(s[2] or '0'), tonumber(s[3] or '0')
-- Pipes of an attempt that is over do not end by themselves.
local open = s[5] == (f[4] or '0') and tonumber(s[4] or '0') or 0
open = math.max(0, open + tonumber(begins) - tonumber(ends))
for i = chunks, #ARGV do
  chunks_now = chunks_now + 1
  bytes = bytes + #ARGV[i]
  redis.call('XADD', entries, int(chunks_now) .. '-0', 'chunk', ARGV[i])
end
if ends == '1' and open == 0 then
  marks = marks + 1
  redis.call('XADD', entries, int(chunks_now) .. '-' .. int(marks), 'end', '1')
end
while bytes > MOST_BYTES or redis.call('XLEN', entries) > MOST_CHUNKS do
  local oldest = redis.call('XRANGE', entries, '-', '+', 'COUNT', 10)
  if #oldest == 0 then bytes = 0 end
  for _, entry in ipairs(oldest) do
    if bytes <= MOST_BYTES and redis.call('XLEN', entries) <= MOST_CHUNKS then break end
    if entry[2][1] == 'chunk' then bytes = bytes - #entry[2][2] end
    redis.call('XDEL', entries, entry[1])
  end
end
local ops = (s[6] or '') .. op_id
redis.call('HSET', state, 'chunks', int(chunks_now), 'marks', int(marks), 'bytes', int(bytes),
  'open', int(open), 'attempt', f[4] or '0', 'ops', string.sub(ops, -REMEMBERED * #op_id))
if not s[1] then redis.call('HSET', key_streams(target), stream, name) end
if not f[5] then redis.call('HSET', key_run(target), 'data', '1') end
if f[3] then all_data('PEXPIRE', target, redis.call('PTTL', key_run(target))) end
publish(target, f[2])
return { 'ok', int(chunks_now) }
