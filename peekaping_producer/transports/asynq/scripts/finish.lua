-- Removes tasks that succeeded and have no retention.
-- Returns the number of tasks that the caller held.
local ACTIVE, LEASE = KEYS[1], KEYS[2]
local queue_prefix = ARGV[1]
local ids, tokens, unique_keys = arguments(2, 3), arguments(3, 3), arguments(4, 3) -- at most 1,000; '' if it has none

local done, task_keys = {}, {}
local scores = redis.call('ZMSCORE', LEASE, unpack(ids))
for i, id in ipairs(ids) do
  if is_held(scores[i], tonumber(tokens[i])) then
    done[#done + 1], task_keys[#task_keys + 1] = id, queue_prefix .. 't:' .. id
    redis.call('LREM', ACTIVE, -1, id) -- from the oldest: batches end in about the order in which they began
    local unique = unique_keys[i]
    if unique ~= '' and redis.pcall('GET', unique) == id then redis.call('DEL', unique) end
  end
end
if #done == 0 then return 0 end
redis.call('ZREM', LEASE, unpack(done))
redis.call('DEL', unpack(task_keys))
count(queue_prefix, 'processed', #done)
return #done
