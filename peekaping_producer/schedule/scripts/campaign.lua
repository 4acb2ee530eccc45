-- Renews a term, or begins a new one where nobody leads or the leader's key cannot be a living leader's.
-- KEYS  1 leader
-- ARGV  1 the term held, or ''  2 the term to begin; again the same where an answer was lost  3 TTL in ms
--       4 the longest TTL in ms that another's key may have; one with more, or with no end, was set by a clock gone wrong
-- returns {'renewed' | 'won' (the new term has begun) | 'held' (by another replica), ms until the key ends,
--          holder before, ms it still had or -1 for no end}
local LONGEST_SHOWN = 200 -- of a holder that is no producer's name

local holder = redis.call('GET', KEYS[1])
if ARGV[1] ~= '' and holder and holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {'renewed', tonumber(ARGV[3]), holder, tonumber(ARGV[3])}
end
local left = redis.call('PTTL', KEYS[1])
if not holder or holder == '' or holder == ARGV[2] or left < 0 or left > tonumber(ARGV[4]) then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return {'won', tonumber(ARGV[3]), string.sub(holder or '', 1, LONGEST_SHOWN), left}
end
return {'held', left, string.sub(holder, 1, LONGEST_SHOWN), left}
