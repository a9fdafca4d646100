-- Machine presets. Each worker queue has one more for every preset, which the workers that declare it
-- serve. Runs of the default preset (`preset` of the environment) are in the worker queue itself, and
-- all runs are as long as no worker ever declared a preset. A run in the worker queue of a preset keeps
-- the token of the other one as its `base`.

-- The lane of a run on a preset, and its base; `lane` is the one in the worker queue itself.
local function lane_on(machine, lane)
  local usual = redis.call('HGET', key_env(), 'preset')
  if not usual or machine == usual then return lane end
  local wq, q, k = split(lane)
  return token(wq .. '@' .. machine) .. ':' .. q .. ':' .. k, wq
end

-- Puts a run that stands in no lane where its preset is; `lane` as above. Returns its lane.
local function place_on(id, machine, lane)
  local base
  if machine then lane, base = lane_on(machine, lane) end
  redis.call('HSET', key_run(id), 'lane', lane)
  if base then
    redis.call('HSET', key_run(id), 'base', base)
  else
    redis.call('HDEL', key_run(id), 'base')
  end
  return lane
end

local function own_lane(lane, base)
  local wq, q, k = split(lane)
  return (base or wq) .. ':' .. q .. ':' .. k
end
