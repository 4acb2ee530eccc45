-- Completes a task, so that its id is free for the next tick.
-- KEYS  1 active  2 lease  3 the task  4 tasks processed  5 tasks processed today
-- ARGV  1 task id  2 seconds for which the day's count is kept
-- returns Redis TIME in ms, or 0 if the task was no longer active
if redis.call('LREM', KEYS[1], 0, ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('INCR', KEYS[4])
redis.call('INCR', KEYS[5])
redis.call('EXPIRE', KEYS[5], ARGV[2])
return now
