-- dequeue_runs: ends attempts and hands the session its next runs: QUEUED -> DEQUEUED, or
-- straight to EXECUTING when `start` is 1 (the worker begins at once).
-- KEYS  scope
-- ARGV  op_id session worker_queues want start retention items...
--       worker_queues: tokens parted by spaces, served in this order. Items: include/finish.lua.
-- REPLY {answer per item, runs or gone when the lease has lapsed}
-- TTL   final runs: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE take
-- INCLUDE settle
-- INCLUDE finish
local now, us = clock()
local freed = {}
local answers = finish_all(op_id, items, retention, now, freed)
reoffer(freed, worker_queues, now)
local runs = take(op_id, session, worker_queues, tonumber(want), start == '1', now, us)
return { answers, runs or 'gone' }
