-- create_runs: makes runs of one task, queued or delayed. A run id that exists is left alone, so
-- the call may be repeated; the run id is its operation id. A record of Celery's message gives way. A single run may be handed to an idle
-- session at once: EXECUTING. Runs made in a run are its children; those made after it was
-- canceled are canceled too.
-- KEYS  scope
-- ARGV  task queue lane worker_queue key max max_duration retention channel parent links path call batch size_limit queue_limit machine items...
--       lane: '' when the caller does not know the task: its queue and worker queue are those that
--       workers declared, or if none did, the given ones. Behind a '=': of a call that names its
--       worker queue, which counts before what workers declare, also later.
--       channel: '' or where the end of these runs is announced.
--       max_duration: '' or ms. parent: '' or a run id; links: parent, root, depth and, if any,
--       trace parted by U+001E. path, call: where in the parent, and what it asked for ('' when noted otherwise).
--       size_limit: the most runs that may wait in the queue, unless it has its own. queue_limit: ''
--       or the limit that a queue gets which nobody declared. machine: '' or the preset that the
--       trigger or its task names.
--       One item: id, payload, details. Details: mode (now | in | at | failed), delay ms, priority
--       ms, packet type, tags parted by U+001F, metadata JSON, parted by U+001E; '' for a run that
--       starts now and has a JSON payload and nothing else. failed: the payload is its error.
--       Before them may stand further options as JSON and U+001E: include/admit.lua.
-- REPLY {full, queue, size limit}, and nothing is stored; or per item the status the run was created with, or again, or cached and the run that has its key
-- TTL   watch: 1 hour; idempotency key: its own; debounce key: until the run starts + 1 day; run: none while not final, else run_retention + 7 days; queue record: run_retention + 7 days unless declared
-- INCLUDE clock
-- INCLUDE keyed
local now, us = clock()
-- INCLUDE glance
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE take
-- INCLUDE deliver
-- INCLUDE seal
-- INCLUDE settle
-- INCLUDE machines
-- INCLUDE adopt
-- INCLUDE make
-- INCLUDE share_run
-- INCLUDE keep
-- INCLUDE admit
-- INCLUDE places
-- INCLUDE give_way

local wanted = (#ARGV - items + 1) / 3
-- INCLUDE place
if batch == '' and is_refused(left) then return { 'full', queue, int(size) } end
if not known[5] and keep_queue(q, known) then parking = parking_of(q, queue, task) end

share(lane, base, now, any_queue, fixed)
local answers, entries, soonest = {}, {}, math.huge
for i = items, #ARGV, 3 do
  local id = ARGV[i]
  local is_there = redis.call('EXISTS', key_run(id)) == 1
  local former = is_there and give_way(id) or nil
  if is_there and not former then
    answers[#answers + 1] = 'again'
    -- In a pipeline of which the server did not know every script, a run may be created before
    -- its batch is announced, and may have ended by now.
    if batch ~= '' and FINAL[redis.call('HGET', key_run(id), 'status')] then
      redis.call('SREM', key_batch_left(batch), id)
    end
  else
    local details, options, found = ARGV[i + 2], nil, nil
    if declared or string.byte(details) == 123 then
      options, details, found = admit(id, ARGV[i + 1], details, declared, now)
      if found and path ~= '' and batch == '' then hit = '\31' .. string.sub(found, #'cached ' + 1) end
    end
    local status, due, score = found, nil, nil
    if not found then
      local payload = ARGV[i + 1]
      if left <= 0 and parts_of(details) == 'now' then
        if batch == '' then return { 'full', queue, int(size) } end
        payload, details = turn_away(id, size, details)
      end
      status, due, score = make(q, now, id, payload, details, options, parking, former)
      if parent ~= '' then adopt(id, now) end
      if former then follow_on(id, former) end
    end
    answers[#answers + 1] = status
-- INCLUDE entered
  end
end
if parent ~= '' then note_call() end
-- INCLUDE handed
return answers
