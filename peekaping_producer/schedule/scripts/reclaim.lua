-- Takes back leases that ran out, and those so far in the future that only a peer with a wrong clock can have set them.
-- KEYS  1 due  2 lease
-- ARGV  1 lease TTL in ms  2 limit (at most 1000)
-- returns how many were taken back; as many as the limit means there may be more
local ttl = tonumber(ARGV[1])
local limit = tonumber(ARGV[2])
local expired = redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
if #expired < 2 * limit then
  local room = limit - #expired / 2
  local absurd = redis.call(
    'ZRANGE', KEYS[2], '(' .. string.format('%.17g', now + 10 * ttl), '+inf', 'BYSCORE', 'LIMIT', 0, room, 'WITHSCORES')
  for _, value in ipairs(absurd) do expired[#expired + 1] = value end
end
if #expired == 0 then return 0 end

local due, ids = {}, {}
for i = 1, #expired, 2 do
  -- The lease implies when it was claimed, so lateness and order survive the dead producer.
  local claimed_at = math.floor(tonumber(expired[i + 1])) - ttl
  due[#due + 1] = math.min(claimed_at, now)
  due[#due + 1] = expired[i]
  ids[#ids + 1] = expired[i]
end
redis.call('ZADD', KEYS[1], 'LT', unpack(due))
return redis.call('ZREM', KEYS[2], unpack(ids))
