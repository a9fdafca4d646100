-- What follows when the runs of a call are made, not a function: a single one goes to an idle session.
write_gathered()
if #entries == 2 then
  deliver(put_in(lane, entries), now, us)
elseif #entries > 0 then
  enqueue(lane, entries)
end
hurry(soonest, now)
