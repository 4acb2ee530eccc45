-- Ends a term early, if it is still ours, so that a follower leads at once.
-- KEYS  1 leader
-- ARGV  1 term
-- returns 1 when the key was ours, otherwise 0
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
