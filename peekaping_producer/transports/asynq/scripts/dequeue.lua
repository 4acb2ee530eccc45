-- Dequeues tasks from the front of a queue, unless it is paused, and leases them to the holder of the token.
-- Returns {now in ms, [id, TaskMessage, ...], number of ids that were dropped: without a task, or already running}.
local PENDING, ACTIVE, LEASE, PAUSED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local queue_prefix, limit, token = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]) -- at most 1,000
local repeated = ARGV[4] == '1' -- the reply to the first call was lost: return what it dequeued, if anything

local taken, ids, leases, dropped, seen = {}, {}, {}, 0, {}

-- The message of a task, and its state; nil if there is none.
local function task(id)
  local fields = redis.pcall('HMGET', queue_prefix .. 't:' .. id, 'msg', 'state')
  if not fields.err and fields[1] then return fields[1], fields[2] end
end

-- Whether a worker runs the task: its id was in the list twice.
local function is_running(id, state)
  local score = state == 'active' and redis.call('ZSCORE', LEASE, id)
  return seen[id] or score and tonumber(score) > now / 1000
end

local function add(id, message)
  seen[id] = true
  taken[#taken + 1], taken[#taken + 2] = id, message
  leases[#leases + 1], leases[#leases + 2] = lease_until(token), id
  ids[#ids + 1] = id
end

if repeated then
  local held = redis.call('ZRANGE', LEASE, '(' .. now / 1000, '+inf', 'BYSCORE', 'WITHSCORES')
  for n = 1, #held, 2 do
    local message = tonumber(held[n + 1]) % 1 == token and task(held[n])
    if message then add(held[n], message) end
  end
  if #ids > 0 then
    redis.call('ZADD', LEASE, unpack(leases))
    return {now, taken, 0}
  end
end
if limit == 0 or redis.call('EXISTS', PAUSED) == 1 then return {now, taken, 0} end

local front = redis.call('LRANGE', PENDING, -limit, -1)
if #front == 0 then return {now, taken, 0} end
redis.call('LLEN', ACTIVE) -- a key of another type fails here, and not after the ids have left the list
redis.call('ZCARD', LEASE)
for n = #front, 1, -1 do
  local message, state = task(front[n])
  if message and not is_running(front[n], state) then add(front[n], message) else dropped = dropped + 1 end
end
redis.call('LTRIM', PENDING, 0, -#front - 1)
if #ids == 0 then return {now, taken, dropped} end
redis.call('LPUSH', ACTIVE, unpack(ids))
redis.call('ZADD', LEASE, unpack(leases))
for _, id in ipairs(ids) do
  local key = queue_prefix .. 't:' .. id
  redis.call('HSET', key, 'state', 'active')
  redis.call('HDEL', key, 'pending_since')
end
return {now, taken, dropped}
