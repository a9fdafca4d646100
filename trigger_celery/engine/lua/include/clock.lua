-- The server's clock: ms and µs since the epoch, moved by the test clock; read once a call.
local clock_us
local function clock()
  if not clock_us then
    local time = redis.call('TIME')
    clock_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local offset = redis.call('GET', key_clock())
    if offset then clock_us = clock_us + tonumber(offset) * 1000 end
  end
  return math.floor(clock_us / 1000), clock_us
end

-- Whole numbers as text: Lua's own conversion turns large ones into 1.7e+12.
local function int(number)
  return string.format('%.0f', number)
end
