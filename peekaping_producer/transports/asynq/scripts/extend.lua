-- Extends leases that have not ended.
-- Returns [index of an id that is no longer held, ...].
local LEASE = KEYS[1]
local ids, tokens = arguments(1, 2), arguments(2, 2) -- at most 1,000

local lost, leases = {}, {}
local scores = redis.call('ZMSCORE', LEASE, unpack(ids))
for i, id in ipairs(ids) do
  local token = tonumber(tokens[i])
  if is_held(scores[i], token) then
    leases[#leases + 1], leases[#leases + 2] = lease_until(token), id
  else
    lost[#lost + 1] = i
  end
end
if #leases > 0 then redis.call('ZADD', LEASE, 'XX', 'GT', unpack(leases)) end
return lost
