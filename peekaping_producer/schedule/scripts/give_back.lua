-- Gives what a claim still holds back to due, at the due time that was meant or later.
-- KEYS  1 due  2 lease  3 late
-- ARGV  1 token  2 delay in ms: 0 for due as it was, otherwise due that long after now
--       then pairs (at most 1000): id, due time that was meant
-- returns how many were given back
local token = tonumber(ARGV[1])
if token <= now then return 0 end

local delay = tonumber(ARGV[2])
local ids = {}
for i = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local scores = redis.call('ZMSCORE', KEYS[2], unpack(ids))
local due, late, ours = {}, {}, {}
for i, id in ipairs(ids) do
  if scores[i] and tonumber(scores[i]) == token then
    local meant = ARGV[2 * i + 2]
    -- No tick ends in .5, so a postponed due time is told from one that a peer has set.
    due[#due + 1] = delay > 0 and string.format('%.17g', now + delay + 0.5) or meant
    due[#due + 1] = id
    late[#late + 1] = meant
    late[#late + 1] = id
    ours[#ours + 1] = id
  end
end
if #ours == 0 then return 0 end
-- LT: an unfenced peer may have put it in due meanwhile; the earlier time stands.
redis.call('ZADD', KEYS[1], 'LT', unpack(due))
redis.call('ZADD', KEYS[3], unpack(late))
return redis.call('ZREM', KEYS[2], unpack(ours))
