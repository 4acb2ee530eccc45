-- Looks at one stretch of the pending list.
-- KEYS  1 pending
-- ARGV  1 prefix of a task's key  2 start  3 stop (as LRANGE takes them, at most 500 apart)
-- returns {[task ids], [those without a task behind them]}
local ids = redis.call('LRANGE', KEYS[1], ARGV[2], ARGV[3])
if #ids == 0 then return {ids, {}} end

local keys, orphans = {}, {}
for i, id in ipairs(ids) do keys[i] = ARGV[1] .. id end
if redis.call('EXISTS', unpack(keys)) < #keys then
  for i, id in ipairs(ids) do
    if redis.call('EXISTS', keys[i]) == 0 then orphans[#orphans + 1] = id end
  end
end
return {ids, orphans}
