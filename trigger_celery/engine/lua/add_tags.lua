-- add_tags: gives a run more tags, all of them or none.
-- KEYS  scope
-- ARGV  run_id epoch most tags...
--       epoch: '' from outside. most: how many tags a run may have. One tag: its token, its text.
-- REPLY {ok} | {full, how many it has} | {stale | gone}
-- TTL   none
-- INCLUDE clock
-- INCLUDE touch
-- INCLUDE holder
local f = redis.call('HMGET', key_run(run_id), 'status', 'n', 'watch', 'epoch', 'resuming', 'tags', 'created')
if not f[1] then return { 'gone' } end
if epoch ~= '' and not is_holder({ f[1], f[4], f[5] }, epoch) then return { 'stale' } end
local all, has, new = {}, {}, {}
for tag in string.gmatch(f[6] or '', '[^\31]+') do
  all[#all + 1] = tag
  has[tag] = true
end
local before = #all
for i = tags, #ARGV, 2 do
  local tag = ARGV[i + 1]
  if not has[tag] then
    has[tag] = true
    all[#all + 1] = tag
    new[#new + 1] = ARGV[i]
  end
end
if #new == 0 then return { 'ok' } end
if #all > tonumber(most) then return { 'full', int(before) } end
for _, tag in ipairs(new) do redis.call('ZADD', key_index_tag(tag), f[7], run_id) end
touch(run_id, f, clock(), 'tags', table.concat(all, '\31'))
return { 'ok' }
