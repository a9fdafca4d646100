-- How a run changes: fields, status index, change number, feed and watchers, in one place.
-- A run is watched for its end only, or for all its changes.
-- INCLUDE gather
local FINAL = {
  COMPLETED = true, FAILED = true, CANCELED = true, CRASHED = true,
  SYSTEM_FAILURE = true, EXPIRED = true, TIMED_OUT = true,
}

local function legal(before, after)
  return string.find(LEGAL, '|' .. before .. '>' .. after .. '|', 1, true) ~= nil
end

local function announce(id, status, n, watched)
  redis.call('XADD', key_changes(), 'MAXLEN', '~', '10000', '*',
    'run', id, 'status', status, 'n', n)
  if watched == 'all' or (watched == 'end' and FINAL[status]) then
    for _, channel in ipairs(redis.call('SMEMBERS', key_watch(id))) do
      redis.call('PUBLISH', channel, id)
    end
  end
end

-- run: {id, before, created, n, watched}; further arguments are field, value, …
local function change(run, after, now, ...)
  local n = run.n + 1
  redis.call('HSET', key_run(run.id), 'status', after, 'n', n, 'updated', now, ...)
  if run.before ~= after then
    gather('ZREM', key_index_status(run.before), run.id)
    gather('ZADD', key_index_status(after), run.created, run.id)
  end
  announce(run.id, after, n, run.watched)
end
