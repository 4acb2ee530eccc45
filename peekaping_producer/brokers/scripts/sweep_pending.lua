-- Removes entries of the pending list that have no task behind them, or that stand in it twice.
-- KEYS  1 pending
-- ARGV  1 prefix of a task's key, then suspects (task ids; a few, since each costs the length of the list)
-- returns {entries without a task, entries that stood twice}
local orphans, doubles = 0, 0
for i = 2, #ARGV do
  local places = redis.call('LPOS', KEYS[1], ARGV[i], 'COUNT', 0)
  if #places > 0 and redis.call('EXISTS', ARGV[1] .. ARGV[i]) == 0 then
    orphans = orphans + redis.call('LREM', KEYS[1], 0, ARGV[i])
  elseif #places > 1 then
    -- From the head: the oldest, at the tail, keeps its place.
    doubles = doubles + redis.call('LREM', KEYS[1], #places - 1, ARGV[i])
  end
end
return {orphans, doubles}
