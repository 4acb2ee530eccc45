-- Takes back leases that ran out, and those so far in the future that only a peer with a wrong clock can have set them.
-- KEYS  1 due  2 lease  3 late
-- ARGV  1 lease TTL in ms  2 limit (at most 1000)
-- returns how many were taken back; as many as the limit means there may be more
local ttl = tonumber(ARGV[1])
local limit = tonumber(ARGV[2])
local longest = math.max(10 * ttl, 60000) -- replicas and peers may have other TTLs

-- Entries that a peer without fences left behind when it handed their monitors off; the first ones are enough, since
-- only they are looked at.
local first = redis.call('ZRANGE', KEYS[3], 0, 99, 'WITHSCORES')
if #first > 0 then
  local ids = {}
  for i = 1, #first, 2 do ids[#ids + 1] = first[i] end
  local due, lease = redis.call('ZMSCORE', KEYS[1], unpack(ids)), redis.call('ZMSCORE', KEYS[2], unpack(ids))
  local settled = {}
  for n, id in ipairs(ids) do
    local waits = due[n] and (tonumber(due[n]) <= tonumber(first[2 * n]) or tonumber(due[n]) % 1 ~= 0)
    if not lease[n] and not waits then settled[#settled + 1] = id end
  end
  if #settled > 0 then redis.call('ZREM', KEYS[3], unpack(settled)) end
end

local expired = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
if #expired < 2 * limit then
  local room = limit - #expired / 2
  local absurd = redis.call(
    'ZRANGE', KEYS[2], '(' .. string.format('%.17g', now + longest), '+inf', 'BYSCORE', 'LIMIT', 0, room, 'WITHSCORES')
  for _, value in ipairs(absurd) do expired[#expired + 1] = value end
end
if #expired == 0 then return 0 end

local late, ids = {}, {}
for i = 1, #expired, 2 do
  -- The lease implies when it was claimed, so lateness and order survive the dead producer.
  local claimed_at = math.floor(tonumber(expired[i + 1])) - ttl
  late[#late + 1] = math.min(claimed_at, now)
  late[#late + 1] = expired[i]
  ids[#ids + 1] = expired[i]
end
-- LT: the first time that was meant stands, however often the monitor is claimed and not handed off.
redis.call('ZADD', KEYS[3], 'LT', unpack(late))
local meant = redis.call('ZMSCORE', KEYS[3], unpack(ids))
local due = {}
for n, id in ipairs(ids) do
  due[#due + 1] = meant[n]
  due[#due + 1] = id
end
redis.call('ZADD', KEYS[1], 'LT', unpack(due))
return redis.call('ZREM', KEYS[2], unpack(ids))
