-- Gives what a claim still holds back to due, at the due time it was claimed with.
-- KEYS  1 due  2 lease
-- ARGV  1 token, then pairs (at most 1000): id, due score
-- returns how many were given back
local token = tonumber(ARGV[1])
if token <= now then return 0 end

local ids = {}
for i = 2, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local scores = redis.call('ZMSCORE', KEYS[2], unpack(ids))
local due, ours = {}, {}
for i, id in ipairs(ids) do
  if scores[i] and tonumber(scores[i]) == token then
    due[#due + 1] = ARGV[2 * i + 1]
    due[#due + 1] = id
    ours[#ours + 1] = id
  end
end
if #ours == 0 then return 0 end
-- LT: an unfenced peer may have put it in due meanwhile; the earlier time stands.
redis.call('ZADD', KEYS[1], 'LT', unpack(due))
return redis.call('ZREM', KEYS[2], unpack(ours))
