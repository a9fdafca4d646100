-- What `admit` found in the details.
-- RARE
local function add_options(x, id, status, due, now)
  if x.opts then add('opts', x.opts) end
  if x.labels then
    add('labels', x.labels)
    for label in string.gmatch(x.labels, '[^\31]+') do gather('ZADD', key_index_label(label), now, id) end
  end
  if x.ttl then
    add('ttl', x.ttl)
    if status == 'QUEUED' then redis.call('ZADD', key_timers(), int(now + x.ttl), timer_expire(id)) end
  end
  if x.idem then
    add('idem', x.idem)
    add('iuntil', int(now + x.keep))
    redis.call('SET', key_idem(x.idem), id, 'PX', x.keep)
  end
  if x.celery then
    add('data', '1')
    add('waited', '1')
    if x.tid then add('tid', x.tid) end
    redis.call('SET', key_canvas(id), x.celery)
  end
  if x.deb and due > now then
    add('deb', x.deb)
    redis.call('SET', key_debounce(x.deb), id, 'PX', int(due - now + 86400000))
  end
end
