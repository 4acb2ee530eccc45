-- Compares plans with the schedule by the rule that place acts on; writes nothing.
-- Returns {now, [place in the list of plans, difference, due time or '', due time after a move or '', ...]}, without
-- those that agree.
local DUE, LEASE, SPREAD, HELD = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local slack, longest_delay = tonumber(ARGV[1]), tonumber(ARGV[2]) -- ms, as for place
local ids, periods = arguments(3, 3), arguments(4, 3) -- at most 1,000; ms, 0 of a row that does not run
local phases = arguments(5, 3) -- ms

local due, lease = redis.call('ZMSCORE', DUE, unpack(ids)), redis.call('ZMSCORE', LEASE, unpack(ids))
local found, spread, held = {}, spread_since(SPREAD), holds_on(HELD, ids)
for i, id in ipairs(ids) do
  local period = tonumber(periods[i])
  local what = difference(period, phases[i], due[i] and tonumber(due[i]), lease[i], slack, longest_delay, held[id])
  local tick = what == MOVE and next_tick(period, spread and phases[i] or 0) or ''
  if what == HOLD then what, tick = MOVE, tick_after(held[id] - 1, period, 0) end
  if what ~= AGREES then
    local n = #found
    found[n + 1], found[n + 2], found[n + 3] = i, what, due[i] or ''
    found[n + 4] = tick
  end
end
return {now, found}
