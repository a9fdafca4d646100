-- create_runs: makes runs of one task, queued or delayed. A run id that exists is left alone, so
-- the call may be repeated; the run id is its operation id. A single run may be handed to an idle
-- session at once: EXECUTING. Runs made in a run are its children; those made after it was
-- canceled are canceled too.
-- KEYS  scope
-- ARGV  task queue lane worker_queue key max max_duration retention channel parent links path call batch items...
--       lane: '' when the caller does not know the task: its queue and worker queue are those that
--       workers declared, or if none did, the given ones.
--       channel: '' or where the end of these runs is announced.
--       max_duration: '' or ms. parent: '' or a run id; links: parent, root and depth parted by
--       U+001E. path, call: where in the parent, and what it asked for ('' when noted otherwise).
--       One item: id, payload, details. Details: mode (now | in | at | failed), delay ms, priority
--       ms, packet type, tags parted by U+001F, metadata JSON, parted by U+001E; '' for a run that
--       starts now and has a JSON payload and nothing else. failed: the payload is its error.
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

if lane == '' then
  local known = redis.call('HGET', key_tasks(), task)
  local own_queue, own_worker_queue = 'task/' .. task, worker_queue
  if known then own_queue, own_worker_queue = string.match(known, '^([^\31]*)\31([^\31]*)') end
  if queue == '' then queue = own_queue end
  lane = token(own_worker_queue) .. ':' .. token(queue) .. ':' .. (key == '' and '' or token(key))
end

local _, q = split(lane)
local known = record(q)
if not known[4] then
  redis.call('HSET', key_queue(q), 'name', queue)
  redis.call('HSET', key_queues(), q, queue)
end
if not known[5] then
  redis.call('PEXPIRE', key_queue(q), int(tonumber(retention) + 604800000))
end

share(lane, now)
local answers, entries, soonest = {}, {}, math.huge
for i = items, #ARGV, 3 do
  local id = ARGV[i]
  if redis.call('EXISTS', key_run(id)) == 1 then
    answers[#answers + 1] = 'again'
    -- In a pipeline of which the server did not know every script, a run may be created before
    -- its batch is announced, and may have ended by now.
    if batch ~= '' and FINAL[redis.call('HGET', key_run(id), 'status')] then
      redis.call('SREM', key_batch_left(batch), id)
    end
  else
    local status, due, score = make(q, now, id, ARGV[i + 1], ARGV[i + 2])
    answers[#answers + 1] = status
    if parent ~= '' then adopt(id, now) end
    if status == 'QUEUED' then
      entries[#entries + 1] = score
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
