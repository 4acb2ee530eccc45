-- Ends holds before their time: the monitors are due at their next ticks.
-- Returns {now, [outcome of each id], why events were refused or ''}. Outcomes: 'released', 'released_now', 'not_held'.
local DUE, HELD, EVENTS, SPREAD = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ids, periods, phases = arguments(1, 4), arguments(2, 4), arguments(3, 4) -- as in hold; a period of 0 is unknown
local events = arguments(4, 4)

local due, values = redis.call('ZMSCORE', DUE, unpack(ids)), redis.call('HMGET', HELD, unpack(ids))
local spread, outcomes, scores, released, written = spread_since(SPREAD), {}, {}, {}, {}
for i, id in ipairs(ids) do
  outcomes[i] = 'not_held'
  if hold_end(values[i], id == ALL and MAX_HOLD_ALL_MS or MAX_HOLD_MS) then
    outcomes[i] = 'released'
    released[#released + 1] = id
    local period = tonumber(periods[i])
    if id ~= ALL and due[i] then
      if period <= 0 then outcomes[i] = 'released_now' end
      scores[#scores + 1] = period > 0 and next_tick(period, spread and phases[i] or 0) or now
      scores[#scores + 1] = id
    end
    if events[i] ~= '' then written[#written + 1] = with_number(events[i], 'at_ms', now) end
  end
end
if #released > 0 then redis.call('HDEL', HELD, unpack(released)) end
if #scores > 0 then redis.call('ZADD', DUE, unpack(scores)) end
return {now, outcomes, add_events(EVENTS, written)}
