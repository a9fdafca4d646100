-- Moves of many runs between sets, written together: one command for many members costs the server
-- little more than one for a single member. Every script that gathers ends with write_gathered.
local gathered = { ZREM = {}, ZADD = {}, SREM = {} }

-- of a sorted set: ZREM member, ZADD score member.
local function gather(verb, name, one, two)
  local list = gathered[verb][name]
  if not list then
    list = {}
    gathered[verb][name] = list
  end
  list[#list + 1] = one
  if two then list[#list + 1] = two end
end

local function write_gathered()
  for verb, names in pairs(gathered) do
    for name, list in pairs(names) do
      for i = 1, #list, 1000 do
        redis.call(verb, name, unpack(list, i, math.min(i + 999, #list)))
      end
      names[name] = nil
    end
  end
end
