-- Moves due times that fit no tick, where they are still what was seen; refused when the term is over.
-- KEYS  1 due  2 leader
-- ARGV  1 term  2 slack in ms (as for place), then triples (at most 1000): id, period in ms, score as it was seen
-- returns -1 when the term is over, otherwise how many were moved
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end

local slack = tonumber(ARGV[2])
local ids = {}
for i = 3, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local due = redis.call('ZMSCORE', KEYS[1], unpack(ids))
local scores = {}
for i, id in ipairs(ids) do
  local period, score = tonumber(ARGV[3 * i + 1]), due[i] and tonumber(due[i])
  if score and score == tonumber(ARGV[3 * i + 2])
    and score > now + slack and (score % period ~= 0 or score > now + period + slack) then
    scores[#scores + 1] = (math.floor(now / period) + 1) * period
    scores[#scores + 1] = id
  end
end
if #scores > 0 then redis.call('ZADD', KEYS[1], unpack(scores)) end
return #scores / 2
