-- Moves monitors that are due to the lease set, under one token.
-- KEYS  1 due  2 lease  3 late
-- ARGV  1 limit (at most 1000)  2 lease TTL in ms  3 nonce (0..1023)
--       4 deadline in ms: a claim that arrives later is refused, since its sender no longer waits for it; 0 for none
--       5 the longest id in bytes
-- returns {now, token, next due or '', [id, due time that was meant, ...], [beginnings of the members removed]};
--       the next due is given only when nothing was claimed
if tonumber(ARGV[4]) > 0 and now > tonumber(ARGV[4]) then return {now, '', tostring(now), {}, {}} end

local found = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1], 'WITHSCORES')
local token = now + ARGV[2] + ARGV[3] / 1024

if #found == 0 then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return {now, '', first[2] or '', {}, {}}
end

local longest = tonumber(ARGV[5])
local leaving, ids, leases, claimed, removed = {}, {}, {}, found, {}
for i = 1, #found, 2 do
  local id = found[i]
  leaving[#leaving + 1] = id
  if #id > longest then -- no monitor's: a member that large could not even be sent back
    removed[#removed + 1] = string.sub(id, 1, 40)
  else
    ids[#ids + 1] = id
    leases[#leases + 1] = token
    leases[#leases + 1] = id
  end
end
if #removed > 0 then
  claimed = {}
  for i = 1, #found, 2 do
    if #found[i] <= longest then
      claimed[#claimed + 1] = found[i]
      claimed[#claimed + 1] = found[i + 1]
    end
  end
end
if #ids > 0 then
  redis.call('ZADD', KEYS[2], unpack(leases))
  if redis.call('EXISTS', KEYS[3]) == 1 then
    local late = redis.call('ZMSCORE', KEYS[3], unpack(ids))
    local left_behind = {}
    for n = 1, #ids do
      -- An entry counts only beside its own due time: the same one, or one that was postponed (it ends in .5). Others
      -- were left by a peer that handed the monitor off.
      local score = tonumber(claimed[2 * n])
      if late[n] and (score == tonumber(late[n]) or score % 1 ~= 0) then
        claimed[2 * n] = late[n]
      elseif late[n] then
        left_behind[#left_behind + 1] = ids[n]
      end
    end
    if #left_behind > 0 then redis.call('ZREM', KEYS[3], unpack(left_behind)) end
  end
end
redis.call('ZREM', KEYS[1], unpack(leaving))
return {now, string.format('%.17g', token), '', claimed, removed}
