-- Completes a task, so that its id is free for the next tick.
-- Returns Redis TIME in ms, or 0 if the task was no longer active.
local ACTIVE, LEASE, TASK, PROCESSED, PROCESSED_TODAY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local task_id, keep_for = ARGV[1], ARGV[2] -- seconds for which the count of today is kept

if redis.call('LREM', ACTIVE, 0, task_id) == 0 then return 0 end
redis.call('ZREM', LEASE, task_id)
redis.call('DEL', TASK)
redis.call('INCR', PROCESSED)
redis.call('INCR', PROCESSED_TODAY)
redis.call('EXPIRE', PROCESSED_TODAY, keep_for)
return now
