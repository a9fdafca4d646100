-- The server's clock: ms and µs since the epoch, moved by the test clock.
local function clock()
  local time = redis.call('TIME')
  local us = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local offset = redis.call('GET', key_clock())
  if offset then us = us + tonumber(offset) * 1000 end
  return math.floor(us / 1000), us
end

-- Whole numbers as text: Lua's own conversion turns large ones into 1.7e+12.
local function int(number)
  return string.format('%.0f', number)
end
