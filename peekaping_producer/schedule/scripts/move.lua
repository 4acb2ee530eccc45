-- Moves misaligned due times to the next tick, where they are still as they were seen; refused when the term is over.
-- Returns -1 when the term is over, otherwise how many were moved.
local DUE, LEADER, SPREAD, HELD = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local term, slack = ARGV[1], tonumber(ARGV[2]) -- ms, as for place
local ids, periods = arguments(3, 4), arguments(4, 4) -- at most 1,000; ms
local phases, seen = arguments(5, 4), arguments(6, 4) -- ms; scores

if not leads(term, LEADER) then return -1 end

local due, moved, spread = redis.call('ZMSCORE', DUE, unpack(ids)), {}, spread_since(SPREAD)
local held = holds_on(HELD, ids)
for i, id in ipairs(ids) do
  local period, score = tonumber(periods[i]), due[i] and tonumber(due[i])
  if score and score == tonumber(seen[i]) and not held[id] and is_misaligned(score, period, phases[i], slack) then
    moved[#moved + 1] = next_tick(period, spread and phases[i] or 0)
    moved[#moved + 1] = id
  end
end
if #moved > 0 then redis.call('ZADD', DUE, unpack(moved)) end
return #moved / 2
