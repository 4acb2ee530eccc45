-- Renews a term, or begins a new one if no replica leads or the leader key cannot be that of a running leader.
-- Returns {'renewed' | 'won' (the new term has begun) | 'held' (by another replica), ms until the key expires,
-- previous holder, ms that it had left or -1 for no expiry, 1 if ticks are spread from now on, 0 if no longer, else -1}.
-- The leader decides for the fleet whether ticks are spread. While a Go producer leads, they are not.
local LEADER, SPREAD = KEYS[1], KEYS[2]
local current_term, new_term = ARGV[1], ARGV[2] -- '' for none; the same new term again if a reply was lost
local ttl = tonumber(ARGV[3]) -- ms
local longest_ttl = tonumber(ARGV[4]) -- ms, of another's key; one with more, or with no expiry, was set by a wrong clock
local spreads = ARGV[5] == '1' -- whether this replica spreads ticks if it leads

local MAX_SHOWN_BYTES = 200 -- bytes of a holder that no producer wrote

-- Turns the switch; returns the last value of the reply. A refused write is no reason not to lead.
local function spread(is_on, term)
  if is_on and not spread_since(SPREAD) then
    local written = redis.pcall('SET', SPREAD, now .. ' ' .. term)
    return written.err and -1 or 1
  elseif not is_on and redis.pcall('DEL', SPREAD) == 1 then
    return 0
  end
  return -1
end

local holder = redis.call('GET', LEADER)
if current_term ~= '' and holder and holder == current_term then
  redis.call('PEXPIRE', LEADER, ttl)
  return {'renewed', ttl, holder, ttl, spread(spreads, holder)}
end
local left = redis.call('PTTL', LEADER)
if not holder or holder == '' or holder == new_term or left < 0 or left > longest_ttl then
  redis.call('SET', LEADER, new_term, 'PX', ttl)
  return {'won', ttl, string.sub(holder or '', 1, MAX_SHOWN_BYTES), left, spread(spreads, new_term)}
end
local is_go = not string.find(holder, '/', 1, true) -- a term of this producer is 'node/random'
return {'held', left, string.sub(holder, 1, MAX_SHOWN_BYTES), left, is_go and spread(false) or -1}
