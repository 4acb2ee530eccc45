-- Moves tasks that are due from the set of scheduled tasks or of retries to the pending list, or to their group.
-- Returns the number of entries that left the set.
local DELAYED, PENDING = KEYS[1], KEYS[2]
local queue_prefix, limit = ARGV[1], tonumber(ARGV[2])

local due = redis.call('ZRANGE', DELAYED, '-inf', now_s, 'BYSCORE', 'LIMIT', 0, limit)
if #due == 0 then return 0 end
redis.call('LLEN', PENDING) -- a key of another type fails here
for _, id in ipairs(due) do
  local key = queue_prefix .. 't:' .. id
  local task = read('HMGET', key, 'msg', 'group')
  redis.call('ZREM', DELAYED, id)
  if not task or not task[1] then
    -- Only an id: asynq would make a task of it that no worker can decode.
  elseif task[2] and task[2] ~= '' then
    redis.call('ZADD', queue_prefix .. 'g:' .. task[2], now_s, id)
    redis.call('HSET', key, 'state', 'aggregating')
  else
    redis.call('LPUSH', PENDING, id)
    redis.call('HSET', key, 'state', 'pending', 'pending_since', now_ns)
  end
end
return #due
