-- Puts monitors that the claim still holds back into due at their next tick, without a queue: hand_off does both.
-- Returns how many were rescheduled.
local DUE, LEASE, LATE = KEYS[1], KEYS[2], KEYS[3]
local token = tonumber(ARGV[1])
local ids, periods = arguments(2, 2), arguments(3, 2) -- at most 1,000; ms

local due, ours = {}, {}
for n, i in ipairs(held_by(token, LEASE, ids)) do
  due[2 * n - 1], due[2 * n] = next_tick(tonumber(periods[i])), ids[i]
  ours[n] = ids[i]
end
if #ours == 0 then return 0 end
redis.call('ZADD', DUE, unpack(due))
redis.call('ZREM', LATE, unpack(ours))
return redis.call('ZREM', LEASE, unpack(ours))
