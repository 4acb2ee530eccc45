-- Looks at the schedule at one instant.
-- KEYS  1 due  2 lease  3 leader
-- returns {now, due, leased, overdue, oldest due score or '', leader or '', ms until the leader's key ends}
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {
  now,
  redis.call('ZCARD', KEYS[1]),
  redis.call('ZCARD', KEYS[2]),
  redis.call('ZCOUNT', KEYS[1], '-inf', now),
  oldest[2] or '',
  redis.call('GET', KEYS[3]) or '',
  redis.call('PTTL', KEYS[3]),
}
