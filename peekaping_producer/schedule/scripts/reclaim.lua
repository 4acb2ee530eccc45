-- Makes monitors due again whose leases ended, or end so late that only a peer with a wrong clock can have set them.
-- Returns how many were reclaimed; as many as the limit means that there may be more.
local DUE, LEASE, LATE = KEYS[1], KEYS[2], KEYS[3]
local ttl, limit = tonumber(ARGV[1]), tonumber(ARGV[2]) -- lease TTL in ms; at most 1,000

local MAX_LEASE_MS = math.max(10 * ttl, 60000) -- ms; replicas and peers may have other TTLs
local LATE_CHECKED = 100 -- the first ones are enough, since only they are reported

-- Removes late entries that a peer without fences left behind when it handed their monitors off.
local function forget_handed_off()
  local first = redis.call('ZRANGE', LATE, 0, LATE_CHECKED - 1, 'WITHSCORES')
  if #first == 0 then return end
  local ids, left_behind = {}, {}
  for i = 1, #first, 2 do ids[#ids + 1] = first[i] end
  local due, lease = redis.call('ZMSCORE', DUE, unpack(ids)), redis.call('ZMSCORE', LEASE, unpack(ids))
  for n, id in ipairs(ids) do
    local score, intended = due[n] and tonumber(due[n]), tonumber(first[2 * n])
    local waits = score and (score <= intended or is_postponed(score))
    if not lease[n] and not waits then left_behind[#left_behind + 1] = id end
  end
  if #left_behind > 0 then redis.call('ZREM', LATE, unpack(left_behind)) end
end

-- Up to `limit` leases to reclaim: [id, end, ...].
local function leases_to_reclaim()
  local found = redis.call('ZRANGE', LEASE, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
  if #found < 2 * limit then
    local after, room = '(' .. exact(now + MAX_LEASE_MS), limit - #found / 2
    local too_long = redis.call('ZRANGE', LEASE, after, '+inf', 'BYSCORE', 'LIMIT', 0, room, 'WITHSCORES')
    for _, value in ipairs(too_long) do found[#found + 1] = value end
  end
  return found
end

forget_handed_off()
local expired = leases_to_reclaim()
if #expired == 0 then return 0 end

local late, ids, due = {}, {}, {}
for i = 1, #expired, 2 do
  -- The lease implies when it was claimed, so lateness and order remain when the producer ends.
  local claimed_at = math.floor(tonumber(expired[i + 1])) - ttl
  late[#late + 1] = math.min(claimed_at, now)
  late[#late + 1] = expired[i]
  ids[#ids + 1] = expired[i]
end
-- LT: the first intended time remains, however often the monitor is claimed and not handed off.
redis.call('ZADD', LATE, 'LT', unpack(late))
local intended = redis.call('ZMSCORE', LATE, unpack(ids))
for n, id in ipairs(ids) do
  due[#due + 1] = intended[n]
  due[#due + 1] = id
end
redis.call('ZADD', DUE, 'LT', unpack(due))
return redis.call('ZREM', LEASE, unpack(ids))
