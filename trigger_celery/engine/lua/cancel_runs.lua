-- cancel_runs: cancels runs for a bulk action, each as cancel_run does, and marks them with it. A
-- repeat by the same action answers as the first time.
-- KEYS  scope
-- ARGV  bulk error retention runs...
-- REPLY per run: ok | final | gone | recorded
-- TTL   run: run_retention + 7 days
-- INCLUDE clock
-- INCLUDE change
-- INCLUDE lanes
-- INCLUDE slots
-- INCLUDE settle
-- INCLUDE cancel
local now = clock()
local freed, answers = {}, {}
for i = runs, #ARGV do
  local id = ARGV[i]
  local answer = cancel(id, bulk, error, tonumber(retention), now, freed)
  answers[#answers + 1] = answer
  if answer == 'ok' then
    local f = redis.call('HMGET', key_run(id), 'labels', 'created')
    if not string.find(f[1] or '', bulk, 1, true) then
      redis.call('HSET', key_run(id), 'labels', f[1] and f[1] .. '\31' .. bulk or bulk)
      gather('ZADD', key_index_label(bulk), f[2], id)
    end
  end
end
reoffer(freed, '', now)
return answers
