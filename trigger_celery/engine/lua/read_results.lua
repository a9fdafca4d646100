-- read_results: how runs ended, and no more than that of them.
-- KEYS  scope
-- ARGV  runs...
-- REPLY per run {status, task, output's packet type, output, error}; a run that is gone: empty texts
-- TTL   none
local reply = {}
for i = runs, #ARGV do
  local id = ARGV[i]
  local f = redis.call('HMGET', key_run(id), 'status', 'task', 'otype', 'output')
  local done = f[1] == 'COMPLETED'
  reply[#reply + 1] = {
    f[1] or '', f[2] or '', f[3] or '',
    f[4] or (done and redis.call('GET', key_output(id))) or '',
    not done and redis.call('GET', key_error(id)) or '',
  }
end
return reply
