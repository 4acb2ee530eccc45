-- Enqueues tasks, each unless its id exists.
-- Returns the number of ids that existed.
local QUEUES, PENDING = KEYS[1], KEYS[2]
local queue, queue_prefix = ARGV[1], ARGV[2]
local ids, messages = arguments(3, 2), arguments(4, 2) -- at most 1,000; TaskMessages

local pushed = {}
redis.call('SADD', QUEUES, queue)
redis.call('LLEN', PENDING) -- a key of another type fails here
for i, id in ipairs(ids) do
  local key = queue_prefix .. 't:' .. id
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'msg', messages[i], 'state', 'pending', 'pending_since', now_ns)
    pushed[#pushed + 1] = id
  end
end
if #pushed > 0 then redis.call('LPUSH', PENDING, unpack(pushed)) end
return #ids - #pushed
