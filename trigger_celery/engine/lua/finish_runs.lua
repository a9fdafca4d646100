-- finish_runs: ends attempts without asking for more work.
-- KEYS  scope
-- ARGV  op_id retention items...
--       Items: include/finish.lua.
-- REPLY answer per item: ok | crashed | stale | final | gone
-- TTL   final runs: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE settle
-- INCLUDE finish
local now = clock()
local freed = {}
local answers = finish_all(op_id, items, retention, now, freed)
reoffer(freed, '', now)
return answers
