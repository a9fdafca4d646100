-- append_logs: adds lines to the log of a run, whatever its status; takes the oldest out when there
-- are too many, and counts them. A call is known by its op_id among the last sixteen of the run.
-- KEYS  scope
-- ARGV  op_id run_id dropped lines...
--       dropped: lines that the process could not keep.
-- REPLY ok | gone (no such run)
-- TTL   none while the run is not final, then that of the run
-- INCLUDE change
local run = redis.call('HMGET', key_run(run_id), 'status', 'data')
if not run[1] then return 'gone' end
local f = redis.call('HMGET', key_log_facts(run_id), 'ops', 'bytes', 'dropped')
local ops, bytes, gone = f[1] or '', tonumber(f[2] or '0'), tonumber(f[3] or '0') + tonumber(dropped)
if string.find(ops, op_id, 1, true) then return 'ok' end

for i = lines, #ARGV do
  redis.call('XADD', key_logs(run_id), '*', 'l', ARGV[i])
  bytes = bytes + #ARGV[i]
end
local count = redis.call('XLEN', key_logs(run_id))
while count > MAX_LOG_LINES or bytes > MAX_LOG_BYTES do
  local oldest = {}
  for _, entry in ipairs(redis.call('XRANGE', key_logs(run_id), '-', '+', 'COUNT', 100)) do
    if count <= MAX_LOG_LINES and bytes <= MAX_LOG_BYTES then break end
    oldest[#oldest + 1] = entry[1]
    count, bytes, gone = count - 1, bytes - #entry[2][2], gone + 1
  end
  if not oldest[1] then break end
  redis.call('XDEL', key_logs(run_id), unpack(oldest))
end

ops = string.sub(op_id .. ' ' .. ops, 1, 16 * (#op_id + 1))
redis.call('HSET', key_log_facts(run_id), 'ops', ops, 'bytes', bytes, 'dropped', gone)
if not run[2] then redis.call('HSET', key_run(run_id), 'data', '1') end
if FINAL[run[1]] then
  local ttl = redis.call('PTTL', key_run(run_id))
  redis.call('PEXPIRE', key_logs(run_id), ttl)
  redis.call('PEXPIRE', key_log_facts(run_id), ttl)
end
return 'ok'
