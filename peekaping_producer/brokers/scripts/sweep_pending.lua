-- Removes entries of the pending list that have no task, or that are in it twice.
-- Returns {entries without a task, second entries}.
local PENDING = KEYS[1]
local task_key_prefix = ARGV[1]
local ids = arguments(2, 1) -- task ids; only a few, since each costs the length of the list

local orphans, duplicates = 0, 0
for _, id in ipairs(ids) do
  local places = redis.call('LPOS', PENDING, id, 'COUNT', 0)
  if #places > 0 and redis.call('EXISTS', task_key_prefix .. id) == 0 then
    orphans = orphans + redis.call('LREM', PENDING, 0, id)
  elseif #places > 1 then
    -- From the head: the oldest, at the tail, keeps its place.
    duplicates = duplicates + redis.call('LREM', PENDING, #places - 1, id)
  end
end
return {orphans, duplicates}
