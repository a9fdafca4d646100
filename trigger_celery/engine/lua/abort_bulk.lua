-- abort_bulk: stops a bulk action that is PENDING: -> ABORTED. What it has done stays.
-- KEYS  scope
-- ARGV  id retention
-- REPLY its status then, '' when unknown
-- TTL   record: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE bulk_state
local status = redis.call('HGET', key_bulk(id), 'status')
if status ~= 'PENDING' then return status or '' end
local now = clock()
end_bulk(id, 'ABORTED', tonumber(retention), now)
return 'ABORTED'
