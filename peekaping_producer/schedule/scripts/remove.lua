-- Removes members of due or lease that are not in the database, if they are still as they were seen; refused when the
-- term is over.
-- Returns -1 when the term is over, otherwise how many were removed.
local SET, LEADER, LATE, HELD = KEYS[1], KEYS[2], KEYS[3], KEYS[4] -- SET: the set that they were seen in
local term = ARGV[1]
local ids, seen = arguments(2, 2), arguments(3, 2) -- at most 1,000; scores

if not leads(term, LEADER) then return -1 end

local scores, same = redis.call('ZMSCORE', SET, unpack(ids)), {}
for i, id in ipairs(ids) do
  if scores[i] and tonumber(scores[i]) == tonumber(seen[i]) then same[#same + 1] = id end
end
if #same == 0 then return 0 end
redis.call('ZREM', LATE, unpack(same))
redis.pcall('HDEL', HELD, unpack(same))
return redis.call('ZREM', SET, unpack(same))
