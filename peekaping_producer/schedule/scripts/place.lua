-- Makes the schedule agree with the database about some monitors; refused when the term is over.
-- Returns {'stale'} or {'placed', added, removed, [leased ids, left alone], [id, due time, ... of misaligned ones],
-- number of those that were moved to the end of their holds}.
-- A worker may have rescheduled a misaligned one by a newer row: the caller reads the row again, then calls move.
local DUE, LEASE, LEADER, LATE, HELD, SPREAD = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local term, slack = ARGV[1], tonumber(ARGV[2]) -- ms: a clock step up to this moves nothing
local longest_delay = tonumber(ARGV[3]) -- ms from now: a postponed due time later than this is misaligned
local retry = ARGV[4] == '1' -- makes postponed monitors due now: their rows may have been mended
local ids, periods, phases = arguments(5, 3), arguments(6, 3), arguments(7, 3) -- at most 1,000; ms, 0 removes it; ms

if not leads(term, LEADER) then return {'stale'} end

local due, lease = redis.call('ZMSCORE', DUE, unpack(ids)), redis.call('ZMSCORE', LEASE, unpack(ids))
local held, spread = holds_on(HELD, ids), spread_since(SPREAD)
local scores, removed, leased, misaligned = {}, {}, {}, {}
local function set_due(id, score)
  scores[#scores + 1] = score
  scores[#scores + 1] = id
end

local added, moved = 0, 0
for i, id in ipairs(ids) do
  local score, phase = due[i] and tonumber(due[i]), spread and phases[i] or 0
  local found = difference(tonumber(periods[i]), phases[i], score, lease[i], slack, longest_delay, held[id])
  if found == REMOVE then
    removed[#removed + 1] = id
  elseif found == LEASED then
    leased[#leased + 1] = id
  elseif found == ADD then
    added = added + 1
    set_due(id, held[id] and tick_after_hold(held[id], periods[i], phase) or now)
  elseif found == HOLD then
    moved = moved + 1
    set_due(id, tick_after_hold(held[id], periods[i], phase))
  elseif found == POSTPONED then
    if retry and score > now then set_due(id, exact(now - 0.5)) end
  elseif found == MOVE then
    misaligned[#misaligned + 1] = id
    misaligned[#misaligned + 1] = due[i]
  end
end
if #scores > 0 then redis.call('ZADD', DUE, unpack(scores)) end
if #removed > 0 then
  for _, set in ipairs({DUE, LEASE, LATE}) do redis.call('ZREM', set, unpack(removed)) end
  redis.pcall('HDEL', HELD, unpack(removed))
end
return {'placed', added, #removed, leased, misaligned, moved}
