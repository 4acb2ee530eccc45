-- Renews a term, or begins a new one if no replica leads or the leader key cannot be that of a running leader.
-- Returns {'renewed' | 'won' (the new term has begun) | 'held' (by another replica), ms until the key expires,
-- previous holder, ms that it had left or -1 for no expiry}.
local LEADER = KEYS[1]
local current_term, new_term = ARGV[1], ARGV[2] -- '' for none; the same new term again if a reply was lost
local ttl = tonumber(ARGV[3]) -- ms
local longest_ttl = tonumber(ARGV[4]) -- ms, of another's key; one with more, or with no expiry, was set by a wrong clock

local MAX_SHOWN_BYTES = 200 -- bytes of a holder that no producer wrote

local holder = redis.call('GET', LEADER)
if current_term ~= '' and holder and holder == current_term then
  redis.call('PEXPIRE', LEADER, ttl)
  return {'renewed', ttl, holder, ttl}
end
local left = redis.call('PTTL', LEADER)
if not holder or holder == '' or holder == new_term or left < 0 or left > longest_ttl then
  redis.call('SET', LEADER, new_term, 'PX', ttl)
  return {'won', ttl, string.sub(holder or '', 1, MAX_SHOWN_BYTES), left}
end
return {'held', left, string.sub(holder, 1, MAX_SHOWN_BYTES), left}
