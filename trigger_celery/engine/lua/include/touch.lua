-- Something of a run changed, and not its status: it has a new change number, is in the feed, and
-- those who watch all its changes are told.
local function publish(id, watched)
  if watched ~= 'all' then return end
  for _, channel in ipairs(redis.call('SMEMBERS', key_watch(id))) do
    redis.call('PUBLISH', channel, id)
  end
end

-- f: status, number of the last change, who watches; further arguments are field, value, …
local function touch(id, f, now, ...)
  local n = tonumber(f[2]) + 1
  redis.call('HSET', key_run(id), 'n', n, 'updated', now, ...)
  redis.call('XADD', key_changes(), 'MAXLEN', '~', '10000', '*',
    'run', id, 'status', f[1], 'n', n, 'data', '1')
  publish(id, f[3])
end
