-- Holds monitors, or all of them, for some time, because a person asked for it: a held monitor is due at its first tick
-- at or after the end; of all, none is claimed until then. Replaces an earlier hold.
-- Returns {now, when the holds end, [outcome of each id], why events were refused or ''}.
-- Outcomes: 'held', 'leased', 'absent', 'too_many'. Only the first changes anything.
local DUE, LEASE, LATE, HELD, EVENTS, SPREAD = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local ends = now + tonumber(ARGV[1]) -- ms
local hold, most = ARGV[2], tonumber(ARGV[3]) -- a JSON object; of holds at once
local ids, periods, phases = arguments(4, 4), arguments(5, 4), arguments(6, 4) -- at most 1,000; ms; ms
local events = arguments(7, 4) -- as in run_now

local due, lease = redis.call('ZMSCORE', DUE, unpack(ids)), redis.call('ZMSCORE', LEASE, unpack(ids))
local spread, known = spread_since(SPREAD), {}
for n, value in ipairs(redis.call('HGETALL', HELD)) do
  if n % 2 == 1 then
    known[value] = true
    most = most - 1
  end
end

local function outcome_of(i, id)
  if id ~= ALL and lease[i] then return 'leased' end
  if id ~= ALL and not due[i] then return 'absent' end
  return (known[id] or id == ALL or most > 0) and 'held' or 'too_many'
end

local outcomes, scores, moved, held, written = {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  outcomes[i] = outcome_of(i, id)
  if outcomes[i] == 'held' then
    if not known[id] then most = most - 1 end
    held[#held + 1] = id
    held[#held + 1] = with_number(hold, 'until_ms', ends)
    if id ~= ALL then
      scores[#scores + 1] = tick_after_hold(ends, periods[i], spread and phases[i] or 0)
      scores[#scores + 1] = id
      moved[#moved + 1] = id
    end
    if events[i] ~= '' then written[#written + 1] = with_number(events[i], 'at_ms', now) end
  end
end
if #held > 0 then redis.call('HSET', HELD, unpack(held)) end -- first: a key of another type fails here
if #moved > 0 then
  redis.call('ZADD', DUE, unpack(scores))
  redis.call('ZREM', LATE, unpack(moved)) -- it is not late: it is held
end
return {now, exact(ends), outcomes, add_events(EVENTS, written)}
