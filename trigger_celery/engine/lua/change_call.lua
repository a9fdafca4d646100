-- change_call: an attempt changes what Celery says of its run, or with what its next attempt is called.
-- KEYS  scope
-- ARGV  run_id epoch celery ptype payload
--       celery: '' or the new text. ptype: '' or the packet type of the new payload.
-- REPLY ok | stale
-- TTL   none
local f = redis.call('HMGET', key_run(run_id), 'epoch', 'status')
if f[1] ~= epoch or f[2] ~= 'EXECUTING' then return 'stale' end
if celery ~= '' then
  redis.call('SET', key_canvas(run_id), celery)
  redis.call('HSET', key_run(run_id), 'data', '1', 'waited', '1')
end
if ptype == '' then return 'ok' end
if ptype == 'application/json' then
  redis.call('HDEL', key_run(run_id), 'ptype')
else
  redis.call('HSET', key_run(run_id), 'ptype', ptype)
end
if #payload <= 64 then
  redis.call('HSET', key_run(run_id), 'payload', payload)
  redis.call('DEL', key_payload(run_id))
else
  redis.call('SET', key_payload(run_id), payload)
  redis.call('HDEL', key_run(run_id), 'payload')
end
return 'ok'
