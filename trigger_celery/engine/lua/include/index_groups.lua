-- INCLUDE index_walk
-- The indexes that the filters name.
-- Each a list of indexes; a wanted run is in one of them at least.
local groups = {}
local function group(values, name_of)
  if not values then return end
  local names = {}
  for _, value in ipairs(values) do
    for _, name in ipairs({ name_of(value) }) do names[#names + 1] = name end
  end
  groups[#groups + 1] = names
end

local function status_index(status) return key_index_status(status) end
local function label_index(label) return key_index_label(label) end
group(want.status, status_index)
group(want.task, function(name) return key_index_task(token(name)) end)
group(want.queue, function(name)
  local own = string.match(name, '^task/(.+)$')
  return key_index_queue(token(name)), own and key_index_task(token(own))
end)
local function tag_index(tag) return key_index_tag(token(tag)) end
if want.all_tags then
  for _, tag in ipairs(want.tag) do group({ tag }, tag_index) end
else
  group(want.tag, tag_index)
end
group(want.version, label_index)
for _, label in ipairs(want.label or {}) do group({ label }, label_index) end
if want.parent then
  groups[#groups + 1] = { key_children(want.parent) }
end

-- The bounds in which there are runs of every group: what is older or newer need not be walked.
local function tighten()
  if at_id ~= '' and back then newest_at = math.min(newest_at, tonumber(at_score)) end
  if at_id ~= '' and not back then oldest_at = math.max(oldest_at, tonumber(at_score)) end
  for _, names in ipairs(groups) do
    local low, high = math.huge, -1
    for _, name in ipairs(names) do
      local first = redis.call('ZRANGEBYSCORE', name, int(oldest_at), int(newest_at), 'WITHSCORES',
        'LIMIT', 0, 1)[2]
      if first then
        local last = redis.call('ZREVRANGEBYSCORE', name, int(newest_at), int(oldest_at),
          'WITHSCORES', 'LIMIT', 0, 1)[2]
        low, high = math.min(low, tonumber(first)), math.max(high, tonumber(last))
      end
    end
    if high < 0 then return false end
    oldest_at, newest_at = math.max(oldest_at, low), math.min(newest_at, high)
    if oldest_at > newest_at then return false end
  end
  return true
end

local function smallest()
  local best, least = 0, math.huge
  for i, names in ipairs(groups) do
    local size = 0
    for _, name in ipairs(names) do
      size = size + redis.call('ZCOUNT', name, int(oldest_at), int(newest_at))
    end
    if size < least then best, least = i, size end
  end
  return best
end
