-- record_runs: notes what happened to tasks that Celery's broker carries. Facts of a run may come in any
-- order and more than once; the first makes the run. Of runs of the engine nothing changes.
-- KEYS  scope
-- ARGV  op_id lease retention error dropped items...
--       lease: ms for which an execution counts as alive. error: of a run that is presumed lost.
--       dropped: facts that the sender could not keep since its last call.
--       One item: run id, kinds (p | s | e | se), position, execution, age ms, age ms of the end, about,
--       payload, detail, body. Ages are before now. about: '' or include/describe.lua.
--       payload: with its message's body behind U+001F, if about says that there is one.
--       detail: p: '' or the ms after it at which the task is due, notes or nothing. s: worker, 1 if redelivered.
--       e: outcome, more, note (include/standing.lua); more: delay of a RETRY, packet type of an output.
--       body: output, or error as JSON.
-- REPLY number of facts that did not count: a run of the engine, or nobody said what runs
-- TTL   of all that a run has: retention, a day at least while it is not final, + 7 days
-- INCLUDE clock
local now = clock()
-- INCLUDE change
-- INCLUDE data
-- INCLUDE standing
-- INCLUDE recorded
local known, order, refused = {}, {}, 0

local function record_of(id)
  if known[id] == nil then
    known[id] = read_recorded(id) or false
    order[#order + 1] = known[id] or nil
  end
  return known[id]
end

local function note_end(r, field, at, outcome, more, note, body)
  local done = outcome == 'COMPLETED'
  if not add_fact(r, field, at, '\31' .. outcome .. '\31' .. (done and '' or more) .. '\31' .. note) then
    return
  end
  if done then r.outputs[field] = { more, body } elseif body ~= '' then r.reasons[field] = body end
end

for i = items, #ARGV, 10 do
  local kinds, position, about, detail = ARGV[i + 1], ARGV[i + 2], ARGV[i + 6], ARGV[i + 8]
  local r = record_of(ARGV[i])
  if r and (r.task or about ~= '') then
    local place, at = position .. ':' .. ARGV[i + 3], now - ARGV[i + 4]
    if about ~= '' then describe(r, position, about, ARGV[i + 7]) end
    if kinds == 'p' then
      local due, notes = string.match(detail, '^(%d*)(.*)$')
      add_fact(r, 'p' .. position, at, '\31' .. (due ~= '' and int(at + due) or '') .. notes)
    else
      if kinds ~= 'e' then
        local worker, again, rest = string.match(detail, '^([^\31]*)\31([^\31]*)\31?(.*)$')
        r.began = add_fact(r, 's' .. place, at, '\31' .. worker .. '\31' .. again) or r.began
        detail = rest
      end
      if kinds ~= 's' then
        local outcome, more, note = string.match(detail, '^([^\31]*)\31([^\31]*)\31([^\31]*)$')
        note_end(r, 'e' .. place, now - ARGV[i + 5], outcome, more, note, ARGV[i + 9])
      end
    end
  else
    refused = refused + 1
  end
end
for _, r in ipairs(order) do settle_recorded(r, tonumber(retention), tonumber(lease), error) end
write_gathered()
if dropped ~= '0' and redis.call('HGET', key_env(), 'unrecorded_op') ~= op_id then
  redis.call('HINCRBY', key_env(), 'unrecorded', dropped)
  redis.call('HSET', key_env(), 'unrecorded_at', int(now), 'unrecorded_op', op_id)
end
return refused
