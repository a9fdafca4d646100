-- A run may be recorded before it is made: its producer did not know that the task makes runs, and a
-- worker that does has the message now. The record gives way, or the message would be lost.
-- INCLUDE data
-- INCLUDE unlist
-- RARE
local function give_way(id)
  local f = redis.call('HMGET', key_run(id), 'rec', 'n', 'watch')
  if not f[1] then return nil end
  unlist(id)
  redis.call('ZREM', key_retention(), id)
  all_data('DEL', id)
  redis.call('DEL', key_run(id), key_payload(id), key_output(id), key_error(id), key_reasons(id),
    key_message(id))
  return { n = int(tonumber(f[2]) + 1), watch = f[3] }
end

-- The run that was made goes on where its record was, for those who follow it.
-- RARE
local function follow_on(id, former)
  redis.call('HSET', key_run(id), 'n', former.n)
  if former.watch then redis.call('HSET', key_run(id), 'watch', former.watch) end
  if redis.call('PERSIST', key_children(id)) == 1 then redis.call('HSET', key_run(id), 'waits', '1') end
end
