-- read_originals: what is needed to trigger runs again: how they were triggered.
-- KEYS  scope
-- ARGV  most_bytes runs...
--       most_bytes: of payloads; what is over it is left out, but for the first run.
-- REPLY per run: {task, concurrency key, tags, packet type, options, 1 if there is a payload, 2 if it
--       is a recorded run, payload, metadata as it was triggered, its queue or '' for that of its task}; '' for what it
--       has not | {} when unknown. Fewer than asked for when their payloads are large.
-- TTL   none
-- INCLUDE records
-- INCLUDE places
local function queue_of(f)
  local q = token(f[2])
  if f[2] == 'task/' .. f[1] or not is_queue_known(q, f[2], f[1]) then return '' end
  return f[2]
end

local reply, bytes = {}, 0
for i = runs, #ARGV do
  local id = ARGV[i]
  local f = redis.call('HMGET', key_run(id), 'task', 'queue', 'ckey', 'tags', 'ptype', 'opts',
    'payload', 'rec')
  if f[8] then
    reply[#reply + 1] = { f[1], '', '', '', '', 2, '', '', '' }
  elseif f[1] then
    local payload = f[7] or redis.call('GET', key_payload(id))
    -- One in the payload store is copied: as many of them as would be large ones here.
    bytes = bytes + (f[5] == 'application/store' and 1048576 or #(payload or ''))
    if bytes > tonumber(most_bytes) and #reply > 0 then break end
    local metadata = redis.call('HGET', key_metadata_before(id), 'seed')
      or redis.call('GET', key_metadata(id))
    reply[#reply + 1] = { f[1], f[3] or '', f[4] or '', f[5] or '', f[6] or '', payload and 1 or 0,
      payload or '', metadata or '', queue_of(f) }
  else
    reply[#reply + 1] = {}
  end
end
return reply
