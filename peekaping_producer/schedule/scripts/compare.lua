-- Compares plans with the schedule by the rule that place acts on; writes nothing.
-- Returns {now, [place in the list of plans, difference, due time or '', due time that it gets or '' for now, ...]},
-- without those that agree. Difference: 'add', 'move', 'remove', 'leased', 'postponed', or 'held' for one that a hold
-- keeps at its due time.
local DUE, LEASE, SPREAD, HELD = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local slack, longest_delay = tonumber(ARGV[1]), tonumber(ARGV[2]) -- ms, as for place
local ids, periods = arguments(3, 3), arguments(4, 3) -- at most 1,000; ms, 0 of a row that does not run
local phases = arguments(5, 3) -- ms

local due, lease = redis.call('ZMSCORE', DUE, unpack(ids)), redis.call('ZMSCORE', LEASE, unpack(ids))
local found, spread, held = {}, spread_since(SPREAD), holds_on(HELD, ids)
local function report(i, what, tick)
  local n = #found
  found[n + 1], found[n + 2], found[n + 3], found[n + 4] = i, what, due[i] or '', tick or ''
end

for i, id in ipairs(ids) do
  local period = tonumber(periods[i])
  local what = difference(period, phases[i], due[i] and tonumber(due[i]), lease[i], slack, longest_delay, held[id])
  if what == MOVE then
    report(i, MOVE, next_tick(period, spread and phases[i] or 0))
  elseif held[id] and (what == ADD or what == HOLD) then
    report(i, what == HOLD and MOVE or ADD, tick_after_hold(held[id], period, spread and phases[i] or 0))
  elseif what ~= AGREES then
    report(i, what)
  elseif held[id] and due[i] then
    report(i, 'held')
  end
end
return {now, found}
