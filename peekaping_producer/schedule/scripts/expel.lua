-- Removes members of due or lease that are too long to be ids, by their scores; refused when the term is over.
-- Returns -1 when the term is over, otherwise how many were removed.
local SET, LEADER = KEYS[1], KEYS[2] -- the set that they were seen in
local term, longest = ARGV[1], tonumber(ARGV[2]) -- bytes of the longest id
local scores = arguments(3, 1) -- at most 1,000

local MAX_PER_SCORE = 100

if not leads(term, LEADER) then return -1 end

local removed = 0
for _, score in ipairs(scores) do
  for _, id in ipairs(redis.call('ZRANGE', SET, score, score, 'BYSCORE', 'LIMIT', 0, MAX_PER_SCORE)) do
    if #id > longest then removed = removed + redis.call('ZREM', SET, id) end
  end
end
return removed
