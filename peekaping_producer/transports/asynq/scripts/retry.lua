-- Moves an active task to the retry set.
-- Returns whether the caller was allowed to end its run: 1 or 0.
local ACTIVE, LEASE, RETRY = KEYS[1], KEYS[2], KEYS[3]
local queue_prefix, id, token = ARGV[1], ARGV[2], tonumber(ARGV[3]) -- 0 for a recoverer
local message, delay_s = ARGV[4], tonumber(ARGV[5]) -- a TaskMessage

if not may_end(LEASE, id, token) then return 0 end
redis.call('ZCARD', RETRY) -- a key of another type fails here
local active = redis.call('LREM', ACTIVE, 0, id) > 0
redis.call('ZREM', LEASE, id)
if not active then return 0 end -- only a stale lease
redis.call('ZADD', RETRY, now_s + delay_s, id)
redis.call('HSET', queue_prefix .. 't:' .. id, 'msg', message, 'state', 'retry')
count(queue_prefix, 'processed', 1)
count(queue_prefix, 'failed', 1)
return 1
