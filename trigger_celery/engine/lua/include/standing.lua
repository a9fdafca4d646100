-- The status of a recorded run, as its facts have it together; the order they came in does not matter.
-- A fact is a field of the record, <kind><position>[:<execution>]:
--   p  published: at, due, notes         s  started: at, worker, 1 if redelivered
--   e  ended: at, outcome, more, note    l  presumed lost: at
-- parted by U+001F. Positions are in the order of the messages: a retry, or what replaced the task, has a
-- higher one. ~: somewhere at the highest. Outcome: a final status, RETRY (more: delay ms) or BACK.
-- SYSTEM_FAILURE: a worker threw the message away unread. Another that executes it knows better.
local OUTCOMES = { COMPLETED = 7, CANCELED = 6, TIMED_OUT = 5, FAILED = 4, EXPIRED = 3, CRASHED = 2, SYSTEM_FAILURE = 1 }

local function highest(facts)
  local top = -1
  for field in pairs(facts) do
    local position = tonumber(string.match(field, '^%a(%d+)'))
    if position and position > top then top = position end
  end
  return top
end

-- Whether an end counts before another: by what it says, then the earlier.
local function is_before(rank, at, field, best)
  if not best or rank ~= best.rank then return not best or rank > best.rank end
  if at ~= best.at then return at < best.at end
  return field < best.field
end

local function weigh(s, facts, kind, place, at, field, value)
  if kind == 'e' then
    local outcome, more = string.match(value, '^%d+\31([^\31]*)\31([^\31]*)')
    local rank = OUTCOMES[outcome]
    if not rank then
      if outcome == 'RETRY' then s.due = math.max(s.due, at + tonumber(more)) end
    elseif is_before(rank, at, field, s.best) then
      s.best = { rank = rank, at = at, field = field, outcome = outcome }
    end
  elseif kind == 'p' then
    s.due = math.max(s.due, tonumber(string.match(value, '\31(%d+)') or '0'))
  elseif kind == 's' and not facts['e' .. place] then
    local lost = facts['l' .. place]
    if lost then s.lost = math.max(s.lost, tonumber(lost)) else s.open = math.max(s.open, at) end
  end
end

-- Returns {status, best end, begun, started, due, finished}; times are 0 when there is none.
local function standing(facts, now)
  local top, begun = highest(facts), {}
  local s = { due = 0, open = 0, lost = 0, started = 0, begun = 0, finished = 0, top = top }
  for field, value in pairs(facts) do
    local kind, position, place = string.match(field, '^(%a)([%d~]+)(:?.*)$')
    local at = tonumber(string.match(value, '^%d+'))
    if kind == 's' then
      if not begun[position] then s.begun = s.begun + 1 end
      begun[position] = true
      if s.started == 0 or at < s.started then s.started = at end
    end
    if position == '~' or tonumber(position) == top then
      weigh(s, facts, kind, position .. place, at, field, value)
    end
  end
  -- Those before it may not be known.
  if begun[int(top)] then s.begun = math.max(s.begun, top % 1000000 + 1) end
  local best = s.best
  if best and best.rank == 1 and s.open + s.lost > 0 then best, s.best = nil, nil end
  -- Another delivery of what had ended otherwise than well is under way.
  if s.open > 0 and not (best and (best.outcome == 'COMPLETED' or best.at >= s.open)) then
    s.status, s.best = 'EXECUTING', nil
  elseif best then
    s.status, s.finished = best.outcome, best.at
  elseif s.lost > 0 then
    s.status, s.finished = 'CRASHED', s.lost
  else
    s.status = s.due > now and 'DELAYED' or 'QUEUED'
  end
  return s
end
