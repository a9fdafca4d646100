-- Walks indexes (sorted sets of runs by creation) together, newest or oldest first, from a place on.
-- A place is a score and a run, which need not be in the index.
local back = direction == 'older'
local oldest_at, newest_at = tonumber(oldest), tonumber(newest)

local function ahead(score, id, other_score, other_id)
  if score ~= other_score then return (score > other_score) == back end
  return id ~= other_id and (id > other_id) == back
end

local function range(name, first, last, ...)
  if back then return redis.call('ZREVRANGE', name, first, last, ...) end
  return redis.call('ZRANGE', name, first, last, ...)
end

-- How many stand before `score`.
local function before(name, score)
  if back then return redis.call('ZCOUNT', name, '(' .. score, '+inf') end
  return redis.call('ZCOUNT', name, '-inf', '(' .. score)
end

local function place_in(name)
  local low = before(name, at_score)
  local high = low + redis.call('ZCOUNT', name, at_score, at_score)
  local score = tonumber(at_score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if ahead(score, at_id, score, range(name, middle, middle)[1]) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

-- Part of an index: the runs from one rank to another that are behind the place and in the bounds.
local function source_of(name)
  local rank = before(name, int(back and newest_at or oldest_at))
  if at_id ~= '' then rank = math.max(rank, place_in(name)) end
  local last = back and redis.call('ZCOUNT', name, int(oldest_at), '+inf')
    or redis.call('ZCOUNT', name, '-inf', int(newest_at))
  return { name = name, rank = rank, stop = last, found = {}, i = 1 }
end

-- The same for runs that are in no index: `ids` in any order, some of them twice.
local function source_from(ids)
  local entries, seen = {}, {}
  for _, id in ipairs(ids) do
    local score = not seen[id] and tonumber(redis.call('HGET', key_run(id), 'created'))
    seen[id] = true
    if score and score >= oldest_at and score <= newest_at
      and (at_id == '' or ahead(tonumber(at_score), at_id, score, id)) then
      entries[#entries + 1] = { score, id }
    end
  end
  table.sort(entries, function(a, b) return ahead(a[1], a[2], b[1], b[2]) end)
  local found = {}
  for _, entry in ipairs(entries) do
    found[#found + 1] = entry[2]
    found[#found + 1] = entry[1]
  end
  return { rank = 0, stop = 0, found = found, i = 1 }
end

-- The next run of a source and its score; nil at its end.
local function head(source, size)
  if source.i > #source.found then
    if source.rank >= source.stop then return nil end
    local last = math.min(source.rank + size, source.stop) - 1
    source.found, source.i = range(source.name, source.rank, last, 'WITHSCORES'), 1
    source.rank = last + 1
  end
  return source.found[source.i], tonumber(source.found[source.i + 1])
end

local function merged(sources, size)
  local ids, piece = {}, math.max(20, math.ceil(size / #sources))
  while #ids < size do
    local id, score
    for _, source in ipairs(sources) do
      local other, other_score = head(source, piece)
      if other and (not id or ahead(other_score, other, score, id)) then
        id, score = other, other_score
      end
    end
    if not id then break end
    ids[#ids + 1] = id
    for _, source in ipairs(sources) do
      if source.found[source.i] == id then source.i = source.i + 2 end
    end
  end
  return ids
end

-- The next `size` runs of all sources together, each once.
local function walk(sources, size)
  local only = sources[1]
  if #sources > 1 or not only.name then return merged(sources, size) end
  if only.rank >= only.stop then return {} end
  local last = math.min(only.rank + size, only.stop) - 1
  local ids = range(only.name, only.rank, last)
  only.rank = last + 1
  return ids
end
