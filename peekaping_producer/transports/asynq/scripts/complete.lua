-- Marks a task that succeeded as completed, and keeps it with its result.
-- Returns whether the caller held it: 1 or 0.
local ACTIVE, LEASE, COMPLETED = KEYS[1], KEYS[2], KEYS[3]
local queue_prefix, id, token, message = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] -- a TaskMessage
local retention_s, unique, result = tonumber(ARGV[5]), ARGV[6], ARGV[7] -- '' if it has no unique key; nil for no result

if not is_held(redis.call('ZSCORE', LEASE, id), token) then return 0 end
redis.call('ZCARD', COMPLETED) -- a key of another type fails here
redis.call('LREM', ACTIVE, -1, id)
redis.call('ZREM', LEASE, id)
redis.call('ZADD', COMPLETED, now_s + retention_s, id)
local key = queue_prefix .. 't:' .. id
redis.call('HSET', key, 'msg', message, 'state', 'completed')
if result then redis.call('HSET', key, 'result', result) end
if unique ~= '' and redis.pcall('GET', unique) == id then redis.call('DEL', unique) end
count(queue_prefix, 'processed', 1)
return 1
