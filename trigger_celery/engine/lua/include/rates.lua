-- Rates: the generic cell rate algorithm, on the server's clock. One number is kept of a rate: the
-- time at which all that has started would have been paid for. It vanishes when that has passed.
local function note_paid(name, paid, us)
  redis.call('SET', name, int(paid), 'PX', int(math.ceil((paid - us) / 1000) + 1))
end

-- How many may start now, and when (ms) the next may if none. What a slower rate left behind counts
-- for no more than this one could have.
local function rate_left(name, every, burst)
  local _, us = clock()
  local paid, most = tonumber(redis.call('GET', name) or '0'), us + every * burst
  if paid > most then
    paid = most
    note_paid(name, paid, us)
  end
  local left = math.floor((most - math.max(paid, us)) / every)
  return left, math.ceil((paid - every * (burst - 1)) / 1000), paid
end

-- RARE
local function rate_spend(name, every, burst, count)
  local _, us = clock()
  local _, _, paid = rate_left(name, every, burst)
  note_paid(name, math.max(paid, us) + count * every, us)
end
