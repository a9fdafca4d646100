-- cancel_run: ends a run in any state that is not final: -> CANCELED. Its descendants follow. The
-- worker that executes it is told; what it still writes does not count.
-- KEYS  scope
-- ARGV  op_id run_id error retention
-- REPLY ok | final | gone | recorded, and the status
-- TTL   run: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE settle
-- INCLUDE cancel
local now = clock()
local freed = {}
local answer, status = cancel(run_id, op_id, error, tonumber(retention), now, freed)
reoffer(freed, '', now)
return { answer, status }
