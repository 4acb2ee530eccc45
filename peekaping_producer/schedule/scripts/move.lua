-- Moves misaligned due times to the next tick, where they are still as they were seen; refused when the term is over.
-- Returns -1 when the term is over, otherwise how many were moved.
local DUE, LEADER = KEYS[1], KEYS[2]
local term, slack = ARGV[1], tonumber(ARGV[2]) -- ms, as for place
local ids, periods, seen = arguments(3, 3), arguments(4, 3), arguments(5, 3) -- at most 1,000; ms; scores

if not leads(term, LEADER) then return -1 end

local due, moved = redis.call('ZMSCORE', DUE, unpack(ids)), {}
for i, id in ipairs(ids) do
  local period, score = tonumber(periods[i]), due[i] and tonumber(due[i])
  if score and score == tonumber(seen[i]) and is_misaligned(score, period, slack) then
    moved[#moved + 1] = next_tick(period)
    moved[#moved + 1] = id
  end
end
if #moved > 0 then redis.call('ZADD', DUE, unpack(moved)) end
return #moved / 2
