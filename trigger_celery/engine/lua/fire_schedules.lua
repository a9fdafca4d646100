-- fire_schedules: makes the runs of schedules of one task that are due, and moves the schedules on,
-- in one step. A firing counts only for the generation and the occurrence that it was worked out
-- for, so of several schedulers one fires; the run of an occurrence has an id of its own, so there
-- is never a second one. An occurrence for which the queue has no place is lost; the schedule goes on.
-- KEYS  scope
-- ARGV  op_id task worker_queue machine size_limit retention count firings...
--       One firing: schedule id, generation, due occurrence, the one after, the last it fires or '',
--       RedBeat's meta, 1 when occurrences were passed over, number of runs. Behind all firings
--       the runs, in the same order: run id, payload, details as in create_runs.
-- REPLY per firing gone | stale | fired and a digit for each run: 1 made, 0 no place in the queue, 2 there before
-- TTL   idempotency key and debounce key: their own; queue record: run_retention + 7 days unless declared
-- INCLUDE clock
-- INCLUDE keyed
local now, us = clock()
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE take
-- INCLUDE deliver
-- INCLUDE seal
-- INCLUDE settle
-- INCLUDE machines
local queue, lane, key, max, max_duration, channel = '', '', '', '', '', ''
local parent, links, path, batch, queue_limit = '', '', '', '', ''
-- INCLUDE make
-- INCLUDE share_run
-- INCLUDE keep
-- INCLUDE admit
-- INCLUDE places

local EACH = 8
local answers, counting, wanted = {}, {}, 0

local function wait_until(id, due)
  local score = string.format('%.3f', tonumber(due) / 1000)
  redis.call('ZADD', key_redbeat_due(), score, key_redbeat(id))
end

-- What there is to say without firing, or nil. One that stands at the wrong time, because a tool of
-- RedBeat's moved it, is put right; so is one that was removed.
local function refusal(id, gen, due)
  local name = key_redbeat(id)
  local f = redis.call('HMGET', name, 'gen', 'next', 'active', 'task', 'fired', 'gone')
  local before = f[5] and string.match(f[5], '^(%S+) ')
  if before == op_id then return string.sub(f[5], #before + 2) end
  if not f[1] or f[6] then
    redis.call('ZREM', key_redbeat_due(), name)
    return 'gone'
  end
  if f[1] ~= gen or f[2] ~= due or f[3] ~= '1' or f[4] ~= task then return 'stale' end
  if tonumber(due) > now then
    wait_until(id, due)
    return 'stale'
  end
end

local run_at = firings + EACH * tonumber(count)
for i = firings, run_at - 1, EACH do
  local runs = tonumber(ARGV[i + 7])
  local n = #answers + 1
  answers[n] = refusal(ARGV[i], ARGV[i + 1], ARGV[i + 2])
  if not answers[n] then
    answers[n] = 'fired '
    counting[#counting + 1] = { n = n, at = i, first = run_at, last = run_at + 3 * (runs - 1) }
    wanted = wanted + runs
  end
  run_at = run_at + 3 * runs
end
if #counting == 0 then return answers end

local entries, soonest = {}, math.huge
local function move_on(firing, digits)
  local id, due, last = ARGV[firing.at], ARGV[firing.at + 3], ARGV[firing.at + 4]
  local name = key_redbeat(id)
  answers[firing.n] = 'fired ' .. digits
  redis.call('HSET', name, 'next', due, 'meta', ARGV[firing.at + 5],
    'fired', op_id .. ' ' .. answers[firing.n])
  wait_until(id, due)
  if last ~= '' then redis.call('HSET', name, 'last', last) end
  local made = string.gsub(digits, '0', '')
  if made ~= '' then
    redis.call('HINCRBY', name, 'runs', #made)
    redis.call('HSET', name, 'run', firing.run)
  end
  if made ~= digits then redis.call('HINCRBY', name, 'lost', #digits - #made) end
  if ARGV[firing.at + 6] == '1' then redis.call('HINCRBY', name, 'missed', 1) end
end

if wanted == 0 then
  for _, firing in ipairs(counting) do move_on(firing, '') end
  return answers
end
-- INCLUDE place
if not known[5] and keep_queue(q, known) then parking = parking_of(q, queue, task) end

share(lane, base, now, any_queue, fixed)
for _, firing in ipairs(counting) do
  local digits = ''
  for i = firing.first, firing.last, 3 do
    local id = ARGV[i]
    if redis.call('EXISTS', key_run(id)) == 1 then
      digits = digits .. '2'
      firing.run = id
    elseif left <= 0 then
      digits = digits .. '0'
    else
      local options, details = admit(id, ARGV[i + 1], ARGV[i + 2], declared, now)
      local status, due, score = make(q, now, id, ARGV[i + 1], details, options, parking)
      digits = digits .. '1'
      firing.run = id
-- INCLUDE entered
    end
  end
  move_on(firing, digits)
end
-- INCLUDE handed
return answers
