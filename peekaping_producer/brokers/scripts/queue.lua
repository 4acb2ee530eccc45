-- Reads the state of the queue.
-- Returns {now, [pending, active, archived, completed, retry, scheduled], age in ms of the longest pending task or -1,
-- 1 if the queue is paused, asynq servers alive, [keys that cannot be read, with the reason]}.
local PENDING, ACTIVE, ARCHIVED, COMPLETED, RETRY, SCHEDULED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local PAUSED, SERVERS, LEASE = KEYS[7], KEYS[8], KEYS[9]
local task_key_prefix = ARGV[1]

local OLDEST_READ = 10

-- The age of the longest pending task in ms; -1 if there is none.
local function oldest_age()
  local tail = read({}, 'LRANGE', PENDING, -OLDEST_READ, -1)
  for n = #tail, 1, -1 do -- a task put back by a consumer is at the end, without pending_since
    local since = redis.pcall('HGET', task_key_prefix .. tail[n], 'pending_since')
    if type(since) == 'string' and tonumber(since) then
      return math.max(0, now - math.floor(tonumber(since) / 1000000))
    end
  end
  return -1
end

local counts = {read(0, 'LLEN', PENDING), read(0, 'LLEN', ACTIVE)}
for _, set in ipairs({ARCHIVED, COMPLETED, RETRY, SCHEDULED}) do counts[#counts + 1] = read(0, 'ZCARD', set) end
read(0, 'ZCARD', LEASE) -- a hand-off needs it

local age = counts[1] > 0 and oldest_age() or -1
local servers = redis.pcall('ZCOUNT', SERVERS, math.floor(now / 1000), '+inf') -- only shown, so never a problem
if type(servers) ~= 'number' then servers = 0 end
return {now, counts, age, read(0, 'EXISTS', PAUSED), servers, problems}
