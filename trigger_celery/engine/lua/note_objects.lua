-- note_objects: runs and tokens are about to get objects in the payload store. They are looked at
-- after an hour: by then whoever writes an object has made its owner, or never will.
-- KEYS  scope
-- ARGV  most owners...
--       most: owners that are kept.
-- REPLY number of owners that were forgotten because there are too many
-- TTL   none
-- INCLUDE clock
local HOUR = 3600000
local due = int(clock() + HOUR)
for i = owners, #ARGV do redis.call('ZADD', key_objects(), due, ARGV[i]) end
local over = redis.call('ZCARD', key_objects()) - tonumber(most)
if over <= 0 then return 0 end
redis.call('ZPOPMIN', key_objects(), over)
return over
