-- Where the runs of a call go: the last step before they are made, not a function. `wanted` is how
-- many there may be; *declared* is what workers say of a task that the caller does not know; *fixed*:
-- the worker queue is the call's own.
local declared, any_queue
local fixed = string.byte(lane) == 61
if fixed then lane = string.sub(lane, 2) end
if lane == '' then
  local known = redis.call('HGET', key_tasks(), task)
  local own_queue, own_worker_queue = 'task/' .. task, worker_queue
  if known then own_queue, own_worker_queue = string.match(known, '^([^\31]*)\31([^\31]*)') end
  if fixed then own_worker_queue = worker_queue end
  if known and string.find(known, '"defaults":{', 1, true) then
    declared = cjson.decode(string.match(known, '^[^\31]*\31[^\31]*\31%d+\31(.*)$')).defaults
  end
  any_queue = queue == '' and not known
  if queue == '' then queue = own_queue end
  lane = token(own_worker_queue) .. ':' .. token(queue) .. ':' .. (key == '' and '' or token(key))
end

local base
if machine == '' and declared then machine = declared.machine or '' end
if machine ~= '' then lane, base = lane_on(machine, lane) end
local _, q = split(lane)
local known = record(q)
local size = tonumber(known[7] or size_limit)
local parking = parking_of(q, queue, task)
local left = places_left(q, parking, size, wanted)
