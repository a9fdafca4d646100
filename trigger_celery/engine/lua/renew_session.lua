-- renew_session: extends the lease of a worker session.
-- KEYS  scope
-- ARGV  session lease busy free
-- REPLY ok | gone (the lease lapsed and the session was ended: register again)
-- TTL   worker: 1 day
-- INCLUDE clock
local now = clock()
if not redis.call('ZSCORE', key_workers(), session) then return 'gone' end
redis.call('ZADD', key_workers(), int(now + tonumber(lease)), session)
redis.call('HSET', key_worker(session), 'busy', busy, 'free', free, 'seen', int(now))
redis.call('PEXPIRE', key_worker(session), 86400000)
return 'ok'
