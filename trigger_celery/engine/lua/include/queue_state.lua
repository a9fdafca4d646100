-- One queue for a reader; nil when its record has expired, unless runs wait in it.
local function queue_state(q, name)
  local f = redis.call('HMGET', key_queue(q), 'name', 'limit', 'base', 'over', 'over_at', 'over_by',
    'paused', 'declared', 'size', 'options')
  local lanes = redis.call('SMEMBERS', key_lanes(q))
  if not f[1] and #lanes == 0 then return nil end
  local queued = redis.call('ZCARD', key_parked_queue(q))
  for _, lane in ipairs(lanes) do queued = queued + redis.call('ZCARD', key_lane(lane)) end
  local state = { name }
  for i = 2, 10 do state[i] = f[i] or '' end
  state[11] = redis.call('ZCARD', key_queue_slots(q))
  state[12] = queued
  return state
end
