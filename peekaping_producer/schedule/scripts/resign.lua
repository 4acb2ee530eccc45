-- Ends a term early, so that a follower can lead at once.
-- Returns 1 if the term led, otherwise 0.
local LEADER = KEYS[1]
local term = ARGV[1]

if not leads(term, LEADER) then return 0 end
return redis.call('DEL', LEADER)
