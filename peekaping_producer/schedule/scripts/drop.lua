-- Removes monitors that are not to run from the schedule, where the claim still holds them.
-- Returns how many were removed.
local LEASE, LATE = KEYS[1], KEYS[2]
local token = tonumber(ARGV[1])
local ids = arguments(2, 1) -- at most 1,000

local ours = {}
for n, i in ipairs(held_by(token, LEASE, ids)) do ours[n] = ids[i] end
if #ours == 0 then return 0 end
redis.call('ZREM', LATE, unpack(ours))
return redis.call('ZREM', LEASE, unpack(ours))
