-- Takes members out of due or lease that the database does not know, if they are still what was seen.
-- KEYS  1 the set they were seen in (due or lease)  2 leader  3 late
-- ARGV  1 term, then pairs (at most 1000): id, score as it was seen
-- returns -1 when the term is over, otherwise how many left
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end

local ids = {}
for i = 2, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ids))
local same = {}
for i, id in ipairs(ids) do
  if scores[i] and tonumber(scores[i]) == tonumber(ARGV[2 * i + 1]) then same[#same + 1] = id end
end
if #same == 0 then return 0 end
redis.call('ZREM', KEYS[3], unpack(same))
return redis.call('ZREM', KEYS[1], unpack(same))
