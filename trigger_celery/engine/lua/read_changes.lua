-- read_changes: what is behind an entry of the feed, as far as it is about runs of a batch or with
-- tags. Examines a bounded number of entries.
-- KEYS  scope
-- ARGV  after batch tags oldest most
--       after: the last entry seen; '' asks for the newest one only. batch: '' or its id. tags:
--       parted by U+001F, all of which a run must have. oldest: of the run's creation, ms.
-- REPLY {entry to go on from, end | more | gap | now ms, {entry, run, status, change number, data}…}
--       gap: the feed was trimmed, or lost, past `after`; then the entry is the newest. now ms: the
--       time when `after` is ''. data: 1 when the status did not change, else ''.
-- TTL   none
-- INCLUDE clock
local FEED, MAX_LENGTH = key_changes(), 10000

local function newest()
  local found = redis.call('XREVRANGE', FEED, '+', '-', 'COUNT', 1)
  return found[1] and found[1][1] or '0-0'
end

if after == '' then return { newest(), int(clock()) } end
local found = redis.call('XRANGE', FEED, after, '+', 'COUNT', tonumber(most) + 1)
local first = 2
if after == '0-0' then
  -- There was no entry yet. A feed that is not full yet has never been trimmed.
  if redis.call('XLEN', FEED) >= MAX_LENGTH then return { newest(), 'gap' } end
  first = 1
elseif not found[1] or found[1][1] ~= after then
  return { newest(), 'gap' }
end

local function has_all(own)
  local set = {}
  for tag in string.gmatch(own or '', '[^\31]+') do set[tag] = true end
  for tag in string.gmatch(tags, '[^\31]+') do
    if not set[tag] then return false end
  end
  return true
end

local wanted = {}
local function is_wanted(id)
  if wanted[id] == nil then
    local f = redis.call('HMGET', key_run(id), 'batch', 'tags', 'created')
    wanted[id] = f[3] and (batch == '' or f[1] == batch) and has_all(f[2])
      and tonumber(f[3]) >= tonumber(oldest) or false
  end
  return wanted[id]
end

local reply = { #found > 0 and found[#found][1] or after, #found > tonumber(most) and 'more' or 'end' }
for i = first, #found do
  local fields = found[i][2]
  if is_wanted(fields[2]) then
    reply[#reply + 1] = { found[i][1], fields[2], fields[4], fields[6], fields[8] or '' }
  end
end
return reply
