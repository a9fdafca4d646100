-- list_runs: one page of runs by creation, newest or oldest first. Walks the smallest of the indexes
-- that the filters name, and looks the runs up in the others, many at once. A call does a bounded
-- piece of that, some ms: the page may be incomplete, and the next call goes on.
-- KEYS  scope
-- ARGV  filter direction oldest newest at_score at_id count
--       filter: include/run_filter.lua. direction: older or newer. oldest, newest: created ms,
--       inclusive. at_*: the place to go on from, exclusive; '' for the beginning.
-- REPLY {id, fields and values}…, then the score and id to go on from ('' at the end)
-- TTL   none
-- INCLUDE clock
-- INCLUDE records
-- INCLUDE run_filter
-- INCLUDE index_groups
local ENOUGH, CHUNK, FAMILY = 3000, 500, 1000

-- All runs below one, unless there are too many.
local function family(root)
  local all, i = { root }, 1
  while i <= #all do
    for _, child in ipairs(redis.call('ZRANGE', key_children(all[i]), 0, FAMILY)) do
      if #all > FAMILY then return nil end
      all[#all + 1] = child
    end
    i = i + 1
  end
  return all
end

local sources, driver = {}, 0
local known = want.batch and redis.call('LRANGE', key_batch_runs(want.batch), 0, -1)
  or want.root and family(want.root)
if known then
  sources[1] = source_from(known)
else
  if want.root then
    local since = redis.call('HGET', key_run(want.root), 'created')
    oldest_at = math.max(oldest_at, tonumber(since or '0'))
  end
  if #groups == 0 then group(want.every, status_index) end
  if not tighten() then return { { '', '' } } end
  driver = smallest()
  for i, name in ipairs(groups[driver]) do sources[i] = source_of(name) end
end

-- Those that are in every other group too: their places in `ids`.
local function in_all(ids)
  local left = {}
  for i = 1, #ids do left[i] = i end
  for g, names in ipairs(groups) do
    if g ~= driver and #left > 0 then
      local asked, found, still = {}, {}, {}
      for i, place in ipairs(left) do asked[i] = ids[place] end
      for _, name in ipairs(names) do
        local scores = redis.call('ZMSCORE', name, unpack(asked))
        for i = 1, #asked do found[i] = found[i] or scores[i] end
      end
      for i, place in ipairs(left) do
        if found[i] then still[#still + 1] = place end
      end
      left = still
    end
  end
  return left
end

local function place_of(id)
  if known then return { redis.call('HGET', key_run(id), 'created'), id } end
  for _, source in ipairs(sources) do
    local score = redis.call('ZSCORE', source.name, id)
    if score then return { score, id } end
  end
end

local reply, spent, size, wanted = {}, 0, math.min(CHUNK, count + 20), tonumber(count)
while true do
  local ids = walk(sources, size)
  local last = #ids
  for _, place in ipairs(in_all(ids)) do
    local flat = redis.call('HGETALL', key_run(ids[place]))
    spent = spent + 8
    if fits(flat) then
      reply[#reply + 1] = { ids[place], want.brief and {} or flat }
      if #reply == wanted then
        last = place
        break
      end
    end
  end
  spent = spent + #ids * (1 + #groups)
  if #ids < size or #reply == wanted or spent > ENOUGH then
    local over = last == #ids and #walk(sources, 1) == 0
    reply[#reply + 1] = over and { '', '' } or place_of(ids[last])
    return reply
  end
  size = CHUNK
end
