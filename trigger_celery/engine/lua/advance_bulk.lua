-- advance_bulk: notes what became of the runs that were to do, and which are next: those found from
-- the place of the last ones on. Without any left the action is COMPLETED.
-- KEYS  scope
-- ARGV  op_id id epoch lease retention done success failure at_score at_id over runs...
--       done: runs that were done. at_*: where to look on, '' unchanged. over: '1' when no more
--       are to be found.
-- REPLY {ok | again, status, runs to do next} | {stale, status}
-- TTL   record: run_retention + 7 days once it has ended
-- INCLUDE clock
-- INCLUDE bulk_state
local now = clock()
local f = redis.call('HMGET', key_bulk(id), 'status', 'epoch', 'op', 'over')
if f[2] ~= epoch then return { 'stale', f[1] or '' } end
if f[3] == op_id then return { 'again', f[1], planned(id) } end
-- What was done before an abort was noticed counts.
redis.call('HINCRBY', key_bulk(id), 'success', success)
redis.call('HINCRBY', key_bulk(id), 'failure', failure)
redis.call('HSET', key_bulk(id), 'op', op_id)
if f[1] ~= 'PENDING' then return { 'ok', f[1], {} } end

if tonumber(done) > 0 then redis.call('LTRIM', key_bulk_runs(id), done, -1) end
if #ARGV >= runs then redis.call('RPUSH', key_bulk_runs(id), unpack(ARGV, runs)) end
if at_id ~= '' then redis.call('HSET', key_bulk(id), 'at_score', at_score, 'at_id', at_id) end
if over == '1' then redis.call('HSET', key_bulk(id), 'over', '1') end
local left = planned(id)
if #left == 0 and (over == '1' or f[4]) then
  end_bulk(id, 'COMPLETED', tonumber(retention), now)
  return { 'ok', 'COMPLETED', {} }
end
redis.call('ZADD', key_bulks_open(), int(now + lease), id)
return { 'ok', 'PENDING', left }
