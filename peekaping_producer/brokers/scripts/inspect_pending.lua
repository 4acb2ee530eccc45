-- Reads one part of the pending list.
-- Returns {[task ids], [those without a task]}.
local PENDING = KEYS[1]
local task_key_prefix = ARGV[1]
local start, stop = ARGV[2], ARGV[3] -- as for LRANGE, at most 500 apart

local ids = redis.call('LRANGE', PENDING, start, stop)
if #ids == 0 then return {ids, {}} end

local keys, orphans = {}, {}
for i, id in ipairs(ids) do keys[i] = task_key_prefix .. id end
if redis.call('EXISTS', unpack(keys)) < #keys then
  for i, id in ipairs(ids) do
    if redis.call('EXISTS', keys[i]) == 0 then orphans[#orphans + 1] = id end
  end
end
return {ids, orphans}
