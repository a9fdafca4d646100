-- create_runs: makes runs of one task, queued or delayed. A run id that exists is left alone, so
-- the call may be repeated; the run id is its operation id. A single run may be handed to an idle
-- session at once: EXECUTING. Runs made in a run are its children; those made after it was
-- canceled are canceled too.
-- KEYS  scope
-- ARGV  task declared worker_queue queue key max max_duration retention channel parent links path call batch items...
--       declared '0': queue, worker queue come from what workers declared, if they did.
--       channel: '' or where the end of these runs is announced.
--       max_duration: '' or ms. parent: '' or a run id; links: parent, root and depth parted by
--       U+001E. path, call: where in the parent, and what it asked for ('' when noted otherwise).
--       One item: id, mode (now | in | at | failed), delay ms, priority ms, packet type, payload,
--       tags parted by U+001F, metadata JSON. failed: its payload is the error it ends with.
-- REPLY per item the status the run was created with, or again
-- TTL   watch: 1 hour; run: none while not final, else run_retention + 7 days; queue record: run_retention + 7 days unless declared
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE take
-- INCLUDE deliver
-- INCLUDE seal
-- INCLUDE settle
-- INCLUDE adopt
-- INCLUDE make
local now, us = clock()

if declared == '0' then
  local known = redis.call('HGET', key_tasks(), task)
  local own_queue, own_worker_queue = 'task/' .. task, worker_queue
  if known then own_queue, own_worker_queue = string.match(known, '^([^\31]*)\31([^\31]*)') end
  if queue == '' then queue = own_queue end
  worker_queue = own_worker_queue
end

local q = token(queue)
local lane = token(worker_queue) .. ':' .. q .. ':' .. (key == '' and '' or token(key))
local known = record(q)
if not known[4] then
  redis.call('HSET', key_queue(q), 'name', queue)
  redis.call('HSET', key_queues(), q, queue)
end
if not known[5] then
  redis.call('PEXPIRE', key_queue(q), int(tonumber(retention) + 604800000))
end

local answers, entries, soonest = {}, {}, math.huge
for i = items, #ARGV, 8 do
  local id = ARGV[i]
  if redis.call('EXISTS', key_run(id)) == 1 then
    answers[#answers + 1] = 'again'
    -- In a pipeline of which the server did not know every script, a run may be created before
    -- its batch is announced, and may have ended by now.
    if batch ~= '' and FINAL[redis.call('HGET', key_run(id), 'status')] then
      redis.call('SREM', key_batch_left(batch), id)
    end
  else
    local status, due = make(lane, now, unpack(ARGV, i, i + 7))
    answers[#answers + 1] = status
    if parent ~= '' then adopt(id, now) end
    if status == 'QUEUED' then
      entries[#entries + 1] = int(due - tonumber(ARGV[i + 3]))
      entries[#entries + 1] = id
    elseif status == 'DELAYED' then
      redis.call('ZADD', key_timers(), int(due), id)
      soonest = math.min(soonest, due)
    end
  end
end
if parent ~= '' then note_call() end
write_gathered()
if #entries == 2 then
  deliver(put_in(lane, entries), now, us)
elseif #entries > 0 then
  enqueue(lane, entries)
end
hurry(soonest, now)
return answers
