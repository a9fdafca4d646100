-- What a run found or waited for is not pruned before the run has ended: a replay asks for it again.
local function keep(target, name, run)
  local keeper = redis.call('HGET', name, 'keeper')
  if not keeper then
    redis.call('HSET', name, 'keeper', run)
  elseif keeper ~= run then
    redis.call('SADD', key_keepers(target), run)
  end
end
