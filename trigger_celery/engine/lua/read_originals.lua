-- read_originals: what is needed to trigger runs again: how they were triggered.
-- KEYS  scope
-- ARGV  most_bytes runs...
--       most_bytes: of payloads; what is over it is left out, but for the first run.
-- REPLY per run: {task, concurrency key, tags, packet type, options, 1 if there is a payload, payload,
--       metadata as it was triggered, its queue or '' for that of its task}; '' for what it has not | {} when
--       unknown. Fewer than asked for when their payloads are large. A recorded run has 2 or more in the
--       place of 1 (3 if there is a payload), its message's body in that of metadata, the broker's queue,
--       and behind it how the message was sent.
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
    'payload', 'rec', 'sent')
  if f[1] then
    local payload = f[7] or redis.call('GET', key_payload(id))
    -- One in the payload store is copied: as many of them as would be large ones here.
    bytes = bytes + (f[5] == 'application/store' and 1048576 or #(payload or ''))
    local body = f[9] and redis.call('GET', key_message(id)) or ''
    bytes = bytes + #body
    if bytes > tonumber(most_bytes) and #reply > 0 then break end
    local has, seed, queue = payload and 1 or 0, body, f[2]
    if not f[8] then
      seed = redis.call('HGET', key_metadata_before(id), 'seed') or redis.call('GET', key_metadata(id))
      queue = queue_of(f)
    end
    reply[#reply + 1] = { f[1], f[3] or '', f[4] or '', f[5] or '', f[6] or '', has + (f[8] and 2 or 0),
      payload or '', seed or '', queue, f[9] or '' }
  else
    reply[#reply + 1] = {}
  end
end
return reply
