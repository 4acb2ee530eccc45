-- Makes what a claim still holds due again, at the intended due time or later.
-- Returns how many were given back.
local DUE, LEASE, LATE = KEYS[1], KEYS[2], KEYS[3]
local token, delay = tonumber(ARGV[1]), tonumber(ARGV[2]) -- ms from now; 0 for the intended due time
local ids, intended = arguments(3, 2), arguments(4, 2) -- at most 1,000; due times

local due, late, ours = {}, {}, {}
for n, i in ipairs(held_by(token, LEASE, ids)) do
  due[2 * n - 1], due[2 * n] = delay > 0 and exact(now + delay + 0.5) or intended[i], ids[i] -- .5 marks a postponed one
  late[2 * n - 1], late[2 * n] = intended[i], ids[i]
  ours[n] = ids[i]
end
if #ours == 0 then return 0 end
-- LT: a peer without fences may have put it in due meanwhile; the earlier time remains.
redis.call('ZADD', DUE, 'LT', unpack(due))
redis.call('ZADD', LATE, unpack(late))
return redis.call('ZREM', LEASE, unpack(ours))
