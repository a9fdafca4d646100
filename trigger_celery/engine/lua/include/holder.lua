-- Whether a run is still in the hands of the attempt that writes: also just after it ended by itself,
-- as what it did before may arrive later than its end. Taking a run away changes its epoch.
local HELD = {
  EXECUTING = true, WAITING = true, COMPLETED = true, FAILED = true, TIMED_OUT = true,
}

local function is_holder(f, epoch)
  return f[2] == epoch and (HELD[f[1]] or f[3]) and true or false
end
