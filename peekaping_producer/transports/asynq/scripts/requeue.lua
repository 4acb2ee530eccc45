-- Puts active tasks back at the front of the queue, in the given order.
-- Returns the number of tasks that the caller held.
local ACTIVE, LEASE, PENDING = KEYS[1], KEYS[2], KEYS[3]
local queue_prefix = ARGV[1]
local ids, tokens = arguments(2, 2), arguments(3, 2) -- at most 1,000

local put_back = {}
local scores = redis.call('ZMSCORE', LEASE, unpack(ids))
for i = #ids, 1, -1 do -- the last that is pushed is the next that is dequeued
  if is_held(scores[i], tonumber(tokens[i])) then
    redis.call('LREM', ACTIVE, 0, ids[i])
    redis.call('HSET', queue_prefix .. 't:' .. ids[i], 'state', 'pending')
    put_back[#put_back + 1] = ids[i]
  end
end
if #put_back == 0 then return 0 end
redis.call('ZREM', LEASE, unpack(put_back))
redis.call('RPUSH', PENDING, unpack(put_back))
return #put_back
