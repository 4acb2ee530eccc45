-- Takes members out of due or lease that are too long to be ids: only their scores are sent; refused when the term is over.
-- KEYS  1 the set they were seen in (due or lease)  2 leader
-- ARGV  1 term  2 the longest id in bytes, then scores (at most 1000)
-- returns -1 when the term is over, otherwise how many left
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end

local left = 0
for i = 3, #ARGV do
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[i], ARGV[i], 'BYSCORE', 'LIMIT', 0, 100)) do
    if #id > tonumber(ARGV[2]) then left = left + redis.call('ZREM', KEYS[1], id) end
  end
end
return left
