-- list_runs: one page of runs, newest first, by merging the indexes that fit the filters.
-- KEYS  scope
-- ARGV  statuses tasks queues tags oldest newest after_score after_id count
--       Filters are texts parted by U+001F, '' for any; several of one kind mean any of them.
--       oldest, newest: created ms, inclusive. after_*: the last run of the page before.
-- REPLY {id, fields and values}…, then the score and id to go on from ('' at the end)
-- TTL   none
-- INCLUDE clock
-- INCLUDE lanes
local function each(text)
  local list, set = {}, {}
  for part in string.gmatch(text, '[^\31]+') do
    list[#list + 1] = part
    set[part] = true
  end
  return list, set
end

local status_list, status_set = each(statuses)
local task_list, task_set = each(tasks)
local queue_list, queue_set = each(queues)
local tag_list = each(tags)
local indexes = {}
if #tag_list > 0 then
  for _, tag in ipairs(tag_list) do indexes[#indexes + 1] = key_index_tag(token(tag)) end
elseif #task_list > 0 then
  for _, task in ipairs(task_list) do indexes[#indexes + 1] = key_index_task(token(task)) end
elseif #queue_list > 0 then
  for _, queue in ipairs(queue_list) do
    indexes[#indexes + 1] = key_index_queue(token(queue))
    local own = string.match(queue, '^task/(.+)$')
    if own then indexes[#indexes + 1] = key_index_task(token(own)) end
  end
else
  for _, status in ipairs(status_list) do indexes[#indexes + 1] = key_index_status(status) end
end

local function fits(id)
  local f = redis.call('HMGET', key_run(id), 'status', 'task', 'queue')
  if not f[1] then return false end
  return status_set[f[1]] and (#task_list == 0 or task_set[f[2]])
    and (#queue_list == 0 or queue_set[f[3]])
end

-- Where the page starts in an index. The last run of the page before need not be in this index:
-- then it is put there for a moment, since only the server can say where it would stand.
local function start_in(name)
  if after_id == '' then return redis.call('ZCOUNT', name, '(' .. newest, '+inf') end
  local rank = redis.call('ZREVRANK', name, after_id)
  if rank then return rank + 1 end
  redis.call('ZADD', name, after_score, after_id)
  rank = redis.call('ZREVRANK', name, after_id)
  redis.call('ZREM', name, after_id)
  return rank
end

-- Of each index a window; below the highest end of a cut window the order is not known yet.
local window = tonumber(count) + 50
local seen, merged, floor_at = {}, {}, nil
for _, name in ipairs(indexes) do
  local start = start_in(name)
  local found = redis.call('ZREVRANGE', name, start, start + window - 1, 'WITHSCORES')
  local last
  for i = 1, #found, 2 do
    last = { tonumber(found[i + 1]), found[i], found[i + 1] }
    if last[1] < tonumber(oldest) then break end
    if not seen[found[i]] then
      seen[found[i]] = true
      merged[#merged + 1] = last
    end
  end
  if #found == 2 * window and last[1] >= tonumber(oldest) then
    if not floor_at or last[1] > floor_at[1]
      or (last[1] == floor_at[1] and last[2] > floor_at[2]) then
      floor_at = last
    end
  end
end
table.sort(merged, function(a, b)
  if a[1] ~= b[1] then return a[1] > b[1] end
  return a[2] > b[2]
end)

local reply = {}
for _, entry in ipairs(merged) do
  if floor_at and (entry[1] < floor_at[1]
    or (entry[1] == floor_at[1] and entry[2] < floor_at[2])) then
    break
  end
  if fits(entry[2]) then
    reply[#reply + 1] = { entry[2], redis.call('HGETALL', key_run(entry[2])) }
    if #reply == tonumber(count) then
      reply[#reply + 1] = { entry[3], entry[2] }
      return reply
    end
  end
end
reply[#reply + 1] = floor_at and { floor_at[3], floor_at[2] } or { '', '' }
return reply
