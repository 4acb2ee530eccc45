-- Removes tasks that succeeded and have no retention.
-- Returns the number of tasks that the caller held.
local ACTIVE, LEASE = KEYS[1], KEYS[2]
local queue_prefix = ARGV[1]
local ids, tokens, unique_keys = arguments(2, 3), arguments(3, 3), arguments(4, 3) -- at most 1,000; '' if it has none

local done, task_keys, number = {}, {}, 0
local scores = redis.call('ZMSCORE', LEASE, unpack(ids))
for i, id in ipairs(ids) do
  if is_held(scores[i], tonumber(tokens[i])) then
    number = number + 1
    done[number], task_keys[number] = id, queue_prefix .. 't:' .. id
    local unique = unique_keys[i]
    if unique ~= '' and redis.pcall('GET', unique) == id then redis.call('DEL', unique) end
  end
end
if number == 0 then return 0 end

-- Whether the oldest of the list are exactly these: a whole batch, in the order in which it was dequeued.
local function are_oldest()
  local oldest = redis.call('LRANGE', ACTIVE, -number, -1)
  for n = 1, number do
    if oldest[number + 1 - n] ~= done[n] then return false end
  end
  return true
end

if are_oldest() then
  redis.call('LTRIM', ACTIVE, 0, -number - 1) -- each LREM is a search
else
  for _, id in ipairs(done) do redis.call('LREM', ACTIVE, -1, id) end
end
redis.call('ZREM', LEASE, unpack(done))
redis.call('DEL', unpack(task_keys))
count(queue_prefix, 'processed', number)
return number
