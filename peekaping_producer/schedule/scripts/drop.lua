-- Takes monitors that must not run out of the schedule, where the claim still holds them.
-- KEYS  1 lease  2 late
-- ARGV  1 token, then ids (at most 1000)
-- returns how many left
local token = tonumber(ARGV[1])
if token <= now then return 0 end

local ids = {unpack(ARGV, 2)}
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ids))
local ours = {}
for i, id in ipairs(ids) do
  if scores[i] and tonumber(scores[i]) == token then ours[#ours + 1] = id end
end
if #ours == 0 then return 0 end
redis.call('ZREM', KEYS[2], unpack(ours))
return redis.call('ZREM', KEYS[1], unpack(ours))
