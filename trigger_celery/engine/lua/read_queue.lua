-- read_queue: one queue with its limits, running and queued runs.
-- KEYS  scope
-- ARGV  queue
-- REPLY {a queue: include/queue_state.lua} | {}
-- TTL   none
-- INCLUDE records
-- INCLUDE queue_state
return { queue_state(token(queue), queue) }
