-- Takes the oldest task of the queue, as asynq's workers do.
-- KEYS  1 pending  2 active  3 lease  4 paused
-- ARGV  1 prefix of a task's key  2 lease TTL in s
-- returns {task id, TaskMessage bytes, pending_since in ns}, or false if the queue is paused or empty
if redis.call('EXISTS', KEYS[4]) == 1 then return false end
local id = redis.call('RPOPLPUSH', KEYS[1], KEYS[2])
if not id then return false end
local key = ARGV[1] .. id
local task = redis.call('HMGET', key, 'msg', 'pending_since')
redis.call('HSET', key, 'state', 'active')
redis.call('HDEL', key, 'pending_since')
redis.call('ZADD', KEYS[3], math.floor(now / 1000) + ARGV[2], id)
return {id, task[1], task[2]}
