-- What is left to do of a bulk action, and its end.
local PIECE, DAY = 100, 86400000

-- The runs to do next; when there are none, more are to be found, unless `over`.
local function planned(id)
  return redis.call('LRANGE', key_bulk_runs(id), 0, PIECE - 1)
end

local function end_bulk(id, status, retention, now)
  redis.call('HSET', key_bulk(id), 'status', status, 'completed', now)
  redis.call('ZREM', key_bulks_open(), id)
  redis.call('DEL', key_bulk_runs(id))
  redis.call('ZADD', key_retention(), int(now + retention), id)
  redis.call('PEXPIRE', key_bulk(id), int(retention + 7 * DAY))
end
