-- Puts monitors that the claim still holds back into due at their next tick, without a queue: hand_off does both.
-- Returns {now, [positions of the others, from 0]}.
local DUE, LEASE, LATE = KEYS[1], KEYS[2], KEYS[3]
local token = tonumber(ARGV[1])
local width = tonumber(ARGV[2]) -- values for each monitor: 3 with its phase, while ticks are spread, otherwise 2
local ids, periods = arguments(3, width), arguments(4, width) -- at most 1,000; ms
local phases = width == 3 and arguments(5, width) or {} -- ms

local due, ours, held, lost = {}, {}, {}, {}
for n, i in ipairs(held_by(token, LEASE, ids)) do
  due[2 * n - 1], due[2 * n] = next_tick(periods[i], phases[i] or 0), ids[i]
  ours[n] = ids[i]
  held[i] = true
end
for i = 1, #ids do
  if not held[i] then lost[#lost + 1] = i - 1 end
end
if #ours > 0 then
  redis.call('ZADD', DUE, unpack(due))
  redis.call('ZREM', LATE, unpack(ours))
  redis.call('ZREM', LEASE, unpack(ours))
end
return {now, lost}
