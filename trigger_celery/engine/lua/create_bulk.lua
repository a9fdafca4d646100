-- create_bulk: announces a bulk action; the services of the workers carry it out. The id is the
-- operation's id.
-- KEYS  scope
-- ARGV  id type name filter oldest newest reason most runs...
--       type: CANCEL or REPLAY. filter: include/run_filter.lua, '' with runs. newest: created ms; no
--       run made later than now counts. most: bulk actions of the type that may be open.
-- REPLY {ok | again} | {full, number of open ones}
-- TTL   none while pending, else run_retention + 7 days
-- INCLUDE clock
-- INCLUDE lanes
local now = clock()
if redis.call('EXISTS', key_bulk(id)) == 1 then return { 'again' } end
local open = 0
for _, other in ipairs(redis.call('ZRANGE', key_bulks_open(), 0, -1)) do
  if redis.call('HGET', key_bulk(other), 'type') == type then open = open + 1 end
end
if open >= tonumber(most) then return { 'full', open } end

redis.call('HSET', key_bulk(id), 'status', 'PENDING', 'type', type, 'created', now,
  'oldest', oldest, 'newest', int(math.min(now, tonumber(newest))), 'filter', filter,
  'epoch', 0, 'success', 0, 'failure', 0)
if name ~= '' then redis.call('HSET', key_bulk(id), 'name', name) end
if reason ~= '' then redis.call('HSET', key_bulk(id), 'reason', reason) end
if filter == '' then
  redis.call('RPUSH', key_bulk_runs(id), unpack(ARGV, runs))
  redis.call('HSET', key_bulk(id), 'over', '1', 'total', #ARGV - runs + 1)
end
redis.call('ZADD', key_bulks(), now, id)
redis.call('ZADD', key_bulks_open(), now, id)
for _, session in ipairs(redis.call('ZREVRANGE', key_workers(), 0, 0)) do post(session, 'bulk') end
return { 'ok' }
