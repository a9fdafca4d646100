-- read_schedule: returns a schedule by its id or its deduplication key, and what workers say of a task.
-- KEYS  scope
-- ARGV  id key task
--       id or key: ''. task: '' or the task that is asked for.
-- REPLY now, schedule id or '', its fields and values, the task's definition or ''
-- TTL   none
-- INCLUDE clock
local now = clock()
if id == '' then id = redis.call('HGET', key_schedule_keys(), key) or '' end
local flat = id == '' and {} or redis.call('HGETALL', key_redbeat(id))
local known = task ~= '' and redis.call('HGET', key_tasks(), task) or ''
return { int(now), id, flat, known }
