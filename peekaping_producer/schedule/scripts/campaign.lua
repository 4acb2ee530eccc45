-- Renews a term, or begins a new one where nobody leads.
-- KEYS  1 leader
-- ARGV  1 the term held, or ''  2 the term to begin; again the same where an answer was lost  3 TTL in ms
-- returns {'renewed' | 'won' (the new term has begun) | 'held' (by somebody else), ms until the key ends}
local holder = redis.call('GET', KEYS[1])
if holder and holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {'renewed', tonumber(ARGV[3])}
end
if not holder or holder == ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return {'won', tonumber(ARGV[3])}
end
return {'held', redis.call('PTTL', KEYS[1])}
