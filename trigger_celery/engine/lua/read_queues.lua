-- read_queues: every queue with its limits, running and queued runs.
-- KEYS  scope
-- ARGV  cursor
-- REPLY {next cursor, {a queue: include/queue_state.lua}…}
-- TTL   none
-- INCLUDE queue_state
local found = redis.call('HSCAN', key_queues(), cursor, 'COUNT', 100)
local queues = {}
for i = 1, #found[2], 2 do queues[#queues + 1] = queue_state(found[2][i], found[2][i + 1]) end
return { found[1], queues }
