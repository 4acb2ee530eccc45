-- Dequeues tasks from the front of a queue, unless it is paused, and leases them to the holder of the token.
-- Returns {now in ms, [id, TaskMessage, ...], number of ids that were dropped: without a task, or already running}.
local PENDING, ACTIVE, LEASE, PAUSED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local queue_prefix, limit, token = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]) -- at most 1,000
local call_id = ARGV[4] -- kept with the tasks: different holders may have the same token
local repeated = ARGV[5] == '1' -- the reply to the first call was lost: return what it dequeued, if anything

local MAX_BYTES = 4 * 1024 * 1024 -- of messages in one reply; a single message may have more
local CALL = 'peekaping:dequeued_by' -- a field of a task; asynq ignores it
local taken, ids, leases, dropped, number = {}, {}, {}, 0, 0
local score = lease_until(token)

-- The message of a task; nil if there is none.
local function message_of(key)
  return read('HGET', key, 'msg') or nil
end

-- Whether a worker runs the task already: its id was in the list twice.
local function is_running(id)
  local lease = redis.call('ZSCORE', LEASE, id)
  return lease and tonumber(lease) > now / 1000
end

local function add(id, message)
  number = number + 1
  ids[number] = id
  taken[2 * number - 1], taken[2 * number] = id, message
  leases[2 * number - 1], leases[2 * number] = score, id
end

if repeated then
  local held = redis.call('ZRANGE', LEASE, '(' .. now / 1000, '+inf', 'BYSCORE', 'WITHSCORES')
  for n = 1, #held, 2 do
    local key = queue_prefix .. 't:' .. held[n]
    if tonumber(held[n + 1]) % 1 == token and redis.call('HGET', key, CALL) == call_id then
      add(held[n], message_of(key))
    end
  end
  if number > 0 then
    redis.call('ZADD', LEASE, unpack(leases))
    return {now, taken, 0}
  end
end
if limit == 0 or redis.call('EXISTS', PAUSED) == 1 then return {now, taken, 0} end

local front = redis.call('LRANGE', PENDING, -limit, -1)
if #front == 0 then return {now, taken, 0} end
redis.call('LLEN', ACTIVE) -- a key of another type fails here, and not after the ids have left the list
redis.call('ZCARD', LEASE)

local messages, last, bytes = {}, 1, 0 -- by index in `front`; the last index that is dequeued
for n = #front, 1, -1 do
  local message = message_of(queue_prefix .. 't:' .. front[n])
  bytes = bytes + (message and #message or 0)
  if bytes > MAX_BYTES and n < #front then
    last = n + 1
    break
  end
  messages[n] = message
end
redis.call('LTRIM', PENDING, 0, last - #front - 2) -- first: Redis refuses only a script's first write when it is full
local seen = {}
for n = #front, last, -1 do
  local id, message = front[n], messages[n]
  local key = queue_prefix .. 't:' .. id
  -- What was enqueued has this field. What is active has not, and what was requeued has not.
  local is_new = message and redis.call('HDEL', key, 'pending_since') == 1
  if message and not seen[id] and (is_new or not is_running(id)) then
    redis.call('HSET', key, 'state', 'active', CALL, call_id)
    seen[id] = true
    add(id, message)
  else
    dropped = dropped + 1
  end
end
if number > 0 then
  redis.call('LPUSH', ACTIVE, unpack(ids))
  redis.call('ZADD', LEASE, unpack(leases))
end
return {now, taken, dropped}
