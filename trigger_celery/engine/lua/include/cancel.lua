-- Cancels a run in any state that is not final, and its descendants: children are cancelled by
-- timers, so that the cascade goes on when the caller is gone. A recorded run is Celery's to revoke.
-- INCLUDE seal
local function cancel_children(id, now)
  local children = redis.call('ZRANGE', key_children(id), 0, -1)
  for _, child in ipairs(children) do gather('ZADD', key_timers(), now, timer_cancel(child)) end
  if #children > 0 then hurry(now, now) end
end

local function cancel(id, op_id, error, retention, now, freed)
  local f = redis.call('HMGET', key_run(id), 'status', 'lane', 'created', 'n', 'watch', 'owner',
    'epoch', 'task', 'op', 'waits', 'waited', 'batch', 'post', 'rec')
  local status, owner = f[1], f[6]
  if not status then return 'gone', '' end
  if f[9] == op_id then return 'ok', status end
  if FINAL[status] then return 'final', status end
  if f[14] then return 'recorded', status end
  redis.call('ZREM', key_timers(), id, timer_expire(id))
  local _, q, k = split(f[2])
  if status == 'PENDING_VERSION' then
    redis.call('ZREM', key_parked(token(f[8])), id)
    redis.call('ZREM', key_parked_queue(q), id)
  end
  withdraw(id, f[2])
  leave_resuming(id, q, k)
  if owner then
    release(id, f[2], owner, freed)
    post(owner, 'cancel ' .. id .. ' ' .. f[7])
    if f[13] then post(f[13], 'cancel ' .. id .. ' ' .. f[7]) end
  end
  redis.call('HDEL', key_run(id), 'resuming', 'resume', 'post')
  seal_with(id, error, retention, now)
  cancel_children(id, now)
  local run = { id = id, before = status, created = f[3], n = f[4], watched = f[5] }
  change(run, 'CANCELED', now, 'op', op_id, 'finished', now,
    'epoch', int(tonumber(f[7] or '0') + 1))
  settle(id, f[10], f[11], f[12], now)
  return 'ok', 'CANCELED'
end
