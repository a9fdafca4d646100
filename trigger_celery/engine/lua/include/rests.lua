-- What tasks of a run did after their last durable call, when the run parks and they do not wait
-- themselves: a replay does not do that again. packed: '' or a JSON list of task, text, …
-- RARE
local function note_rests(packed)
  if packed == '' then return end
  local rests = cjson.decode(packed)
  for i = 1, #rests, 2 do
    if redis.call('HLEN', key_rests(run_id)) >= MAX_CALLS then return end
    redis.call('HSET', key_rests(run_id), rests[i], rests[i + 1])
  end
end
