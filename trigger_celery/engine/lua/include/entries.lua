-- Entries of a stream behind one: up to 500, or a megabyte of them. {entry, chunk | end, text}…
local function entries_after(name, after)
  local found, bytes = {}, 0
  while bytes < 1048576 and #found < 500 do
    local some = redis.call('XRANGE', name, '(' .. after, '+', 'COUNT', 10)
    for _, entry in ipairs(some) do
      found[#found + 1] = { entry[1], entry[2][1], entry[2][2] }
      bytes = bytes + #entry[2][2]
      after = entry[1]
    end
    if #some < 10 then break end
  end
  return found
end
