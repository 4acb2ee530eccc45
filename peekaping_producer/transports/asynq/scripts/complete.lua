-- Marks tasks that succeeded as completed, and keeps them with their results.
-- Returns the number of tasks that the caller held.
local ACTIVE, LEASE, COMPLETED = KEYS[1], KEYS[2], KEYS[3]
local queue_prefix = ARGV[1]
local ids, tokens, messages = arguments(2, 6), arguments(3, 6), arguments(4, 6) -- at most 1,000; TaskMessages
local retentions, unique_keys, results = arguments(5, 6), arguments(6, 6), arguments(7, 6) -- s; '' for none

local done = 0
local scores = redis.call('ZMSCORE', LEASE, unpack(ids))
redis.call('ZCARD', COMPLETED) -- a key of another type fails here
for i, id in ipairs(ids) do
  if is_held(scores[i], tonumber(tokens[i])) then
    done = done + 1
    redis.call('LREM', ACTIVE, -1, id)
    redis.call('ZREM', LEASE, id)
    redis.call('ZADD', COMPLETED, now_s + tonumber(retentions[i]), id)
    local key, unique = queue_prefix .. 't:' .. id, unique_keys[i]
    redis.call('HSET', key, 'msg', messages[i], 'state', 'completed')
    if results[i] ~= '' then redis.call('HSET', key, 'result', results[i]) end
    if unique ~= '' and redis.pcall('GET', unique) == id then redis.call('DEL', unique) end
  end
end
count(queue_prefix, 'processed', done)
return done
