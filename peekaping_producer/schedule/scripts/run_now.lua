-- Makes monitors due now, because a person asked for it. Ticks are absolute, so the next one stays where it is.
-- Returns {now, [outcome of each id], [when its hold ends, or 0], why events were refused or ''}.
-- Outcomes: 'due_now', 'already_due', 'leased', 'held', 'held_all', 'absent'. Only the first changes anything.
local DUE, LEASE, HELD, EVENTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ids, events = arguments(1, 2), arguments(2, 2) -- at most 1,000; of each id, a JSON object or ''

local due, lease = redis.call('ZMSCORE', DUE, unpack(ids)), redis.call('ZMSCORE', LEASE, unpack(ids))
local held, held_all = holds_on(HELD, ids), hold_on_all(HELD)

local function outcome_of(i, id)
  if held_all then return 'held_all' end
  if lease[i] then return 'leased' end
  if not due[i] then return 'absent' end
  if held[id] then return 'held' end
  return tonumber(due[i]) <= now and 'already_due' or 'due_now'
end

local outcomes, ends, scores, written = {}, {}, {}, {}
for i, id in ipairs(ids) do
  outcomes[i], ends[i] = outcome_of(i, id), held_all or held[id] or 0
  if outcomes[i] == 'due_now' then
    -- A postponed one stays recognizable, so that the next claim restores its intended due time.
    scores[#scores + 1] = is_postponed(tonumber(due[i])) and exact(now - 0.5) or now
    scores[#scores + 1] = id
    if events[i] ~= '' then written[#written + 1] = with_number(events[i], 'at_ms', now) end
  end
end
if #scores > 0 then redis.call('ZADD', DUE, unpack(scores)) end
return {now, outcomes, ends, add_events(EVENTS, written)}
