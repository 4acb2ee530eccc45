-- Moves monitors that are due to the lease set, under one token.
-- Returns {now, token, next due time or '', [id, intended due time, ...], [beginnings of the members removed],
-- since when ticks are spread, in ms, or -1}.
-- The next due time is returned only when nothing was claimed: while all monitors are held, it is the end of the hold.
-- Whether ticks are spread is returned only when something was claimed.
local DUE, LEASE, LATE, SPREAD, HELD = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local limit, lease_ttl, nonce = ARGV[1], ARGV[2], ARGV[3] -- at most 1,000; ms; 1 to 1,023
local deadline = tonumber(ARGV[4]) -- ms, 0 for none: a claim that arrives later is refused, its sender has given up
local longest = tonumber(ARGV[5]) -- bytes: a longer member is no monitor's id, and too large to be returned
local keep = ARGV[6] == '1' -- keeps the intended due times of the claim, also if its replica ends without giving it back

local MAX_SHOWN_BYTES = 40 -- bytes of a member removed

-- Restores the due times of monitors that an earlier claim did not hand off.
local function restore_intended(ids, claimed)
  local late, left_behind = redis.call('ZMSCORE', LATE, unpack(ids)), {}
  for n, id in ipairs(ids) do
    -- A peer that handed the monitor off left its entry behind: the due time has changed and is not a postponed one.
    local score = tonumber(claimed[2 * n])
    if late[n] and (score == tonumber(late[n]) or is_postponed(score)) then
      claimed[2 * n] = late[n]
    elseif late[n] then
      left_behind[#left_behind + 1] = id
    end
  end
  if #left_behind > 0 then redis.call('ZREM', LATE, unpack(left_behind)) end
end

-- A lease implies when it was claimed, and no more: the intended due time would be lost with the replica.
local function keep_intended(claimed)
  local intended = {}
  for i = 1, #claimed, 2 do intended[i], intended[i + 1] = claimed[i + 1], claimed[i] end
  redis.call('ZADD', LATE, unpack(intended))
end

if deadline > 0 and now > deadline then return {now, '', tostring(now), {}, {}, -1} end

local found = redis.call('ZRANGE', DUE, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
if #found == 0 then
  local first = redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  return {now, '', first[2] or '', {}, {}, -1}
end

local held_until = hold_on_all(HELD)
if held_until then return {now, '', exact(held_until), {}, {}, -1} end

local token = now + lease_ttl + nonce / 1024
local ids, leases, claimed, long = {}, {}, {}, {}
for i = 1, #found, 2 do
  local id = found[i]
  if #id > longest then
    long[#long + 1] = id
  else
    local n = #ids + 1
    ids[n] = id
    leases[2 * n - 1], leases[2 * n] = token, id
    claimed[2 * n - 1], claimed[2 * n] = id, found[i + 1]
  end
end
if #ids > 0 then
  redis.call('ZADD', LEASE, unpack(leases))
  if redis.call('EXISTS', LATE) == 1 then restore_intended(ids, claimed) end
  if keep then keep_intended(claimed) end
  redis.call('ZREM', DUE, unpack(ids))
end
if #long > 0 then
  redis.call('ZREM', DUE, unpack(long))
  for n, member in ipairs(long) do long[n] = string.sub(member, 1, MAX_SHOWN_BYTES) end
end
return {now, exact(token), '', claimed, long, spread_since(SPREAD) or -1}
