-- Asks the leader to sync now. Returns the time of the request, by which its answer is recognized.
local SYNC_REQUESTED = KEYS[1]
local who, kept_for = ARGV[1], ARGV[2] -- a JSON string; ms

redis.call('SET', SYNC_REQUESTED, '{"who":' .. who .. ',"at_ms":' .. now .. '}', 'PX', kept_for)
return now
