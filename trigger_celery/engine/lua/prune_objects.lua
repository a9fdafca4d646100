-- prune_objects: says which runs and tokens are gone, so that their objects in the payload store can
-- be deleted, and forgets those whose objects are. What is said is said again after a minute, until
-- it is done.
-- KEYS  scope
-- ARGV  count done...
--       done: owners whose objects are deleted, each with the time that came with it. One that got
--       another object meanwhile has another time, and stays.
-- REPLY {number of owners looked at, then each that is gone, with a time}
-- TTL   none
-- INCLUDE clock
local MINUTE = 60000
local now = clock()

for i = done, #ARGV, 2 do
  if redis.call('ZSCORE', key_objects(), ARGV[i]) == ARGV[i + 1] then
    redis.call('ZREM', key_objects(), ARGV[i])
  end
end

local function is_there(owner)
  local is_run = string.match(owner, '^%a+') == 'run'
  return redis.call('EXISTS', is_run and key_run(owner) or key_waitpoint(owner)) == 1
end

-- When the record may be gone: not before it is pruned, which is not known while it lives.
local function next_look(owner)
  local pruned = redis.call('ZSCORE', key_retention(), owner)
  return math.max(now + MINUTE, pruned and tonumber(pruned) + MINUTE or now + 15 * MINUTE)
end

if tonumber(count) == 0 then return { 0 } end
local due = redis.call('ZRANGEBYSCORE', key_objects(), '-inf', int(now), 'LIMIT', 0, count)
local reply = { #due }
for _, owner in ipairs(due) do
  local again = int(now + MINUTE)
  if is_there(owner) then
    redis.call('ZADD', key_objects(), int(next_look(owner)), owner)
  else
    redis.call('ZADD', key_objects(), again, owner)
    reply[#reply + 1] = owner
    reply[#reply + 1] = again
  end
end
return reply
