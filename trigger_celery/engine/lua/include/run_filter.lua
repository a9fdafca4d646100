-- Which runs are wanted. `filter` is JSON; what is not in it does not matter: status, task, queue,
-- machine, label: lists, any of them; tag: a list, any, or all with all_tags; real: no tests;
-- parent, root, batch: ids; but: a label that no wanted run has. brief: ids are enough.
local want = cjson.decode(filter)

local function set_of(list)
  if not list then return nil end
  local set = {}
  for _, value in ipairs(list) do set[value] = true end
  return set
end

local statuses, tasks, queues = set_of(want.status), set_of(want.task), set_of(want.queue)
local machines = set_of(want.machine)

-- text: parts divided by U+001F.
local function has(text, values, all)
  local parts = {}
  for part in string.gmatch(text or '', '[^\31]+') do parts[part] = true end
  for _, value in ipairs(values) do
    if all ~= (parts[value] or false) then return not all end
  end
  return all
end

local function descends(links)
  local parent, root = string.match(links or '', '^([^\30]*)\30([^\30]*)')
  return (not want.parent or parent == want.parent) and (not want.root or root == want.root)
end

-- flat: the fields and values of a run's record.
local function fits(flat)
  local f = {}
  for i = 1, #flat, 2 do f[flat[i]] = flat[i + 1] end
  return f.status and (not statuses or statuses[f.status])
    and (not tasks or tasks[f.task]) and (not queues or queues[f.queue])
    and (not want.tag or has(f.tags, want.tag, want.all_tags or false))
    and (not want.version or has(f.labels, want.version, false))
    and (not want.label or has(f.labels, want.label, true))
    and (not want.but or not has(f.labels, { want.but }, false))
    and (not want.real or not has(f.labels, { 'test' }, false))
    and (not machines or machines[f.opts and cjson.decode(f.opts).machine or ''])
    and descends(f.links)
end
