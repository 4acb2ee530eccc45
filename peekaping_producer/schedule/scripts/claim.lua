-- Moves monitors that are due to the lease set, under one token.
-- KEYS  1 due  2 lease
-- ARGV  1 limit (at most 1000)  2 lease TTL in ms  3 nonce (0..1023)
-- returns {now, token, next due or '', [id, due score, ...]}; the next due is told only when nothing was due
local claimed = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1], 'WITHSCORES')
local token = now + ARGV[2] + ARGV[3] / 1024

if #claimed == 0 then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return {now, '', first[2] or '', claimed}
end

local ids, leases = {}, {}
for i = 1, #claimed, 2 do
  ids[#ids + 1] = claimed[i]
  leases[#leases + 1] = token
  leases[#leases + 1] = claimed[i]
end
redis.call('ZADD', KEYS[2], unpack(leases))
redis.call('ZREM', KEYS[1], unpack(ids))
return {now, string.format('%.17g', token), '', claimed}
