-- Takes the oldest task of the queue, as asynq's workers do.
-- Returns {task id, TaskMessage bytes, pending_since in ns}, or false if the queue is paused or empty.
local PENDING, ACTIVE, LEASE, PAUSED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local task_key_prefix, lease_ttl = ARGV[1], ARGV[2] -- seconds

if redis.call('EXISTS', PAUSED) == 1 then return false end
local id = redis.call('RPOPLPUSH', PENDING, ACTIVE)
if not id then return false end
local key = task_key_prefix .. id
local task = redis.call('HMGET', key, 'msg', 'pending_since')
redis.call('HSET', key, 'state', 'active')
redis.call('HDEL', key, 'pending_since')
redis.call('ZADD', LEASE, math.floor(now / 1000) + lease_ttl, id)
return {id, task[1], task[2]}
