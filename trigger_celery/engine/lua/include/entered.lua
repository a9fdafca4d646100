-- Where a run that was made waits: part of the loop that makes them, not a function.
    if status == 'PENDING_VERSION' then
      redis.call('ZADD', parking, now, id)
      left = left - 1
    elseif status == 'QUEUED' then
      left = left - 1
      entries[#entries + 1] = score
      entries[#entries + 1] = id
      if options and options.ttl then soonest = math.min(soonest, now + options.ttl) end
    elseif status == 'DELAYED' then
      redis.call('ZADD', key_timers(), int(due), id)
      soonest = math.min(soonest, due)
    end
