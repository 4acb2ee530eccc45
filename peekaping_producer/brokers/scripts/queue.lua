-- Looks at the queue at one instant.
-- KEYS  1 pending  2 active  3 archived  4 completed  5 retry  6 scheduled  7 paused  8 asynq:servers  9 lease
-- ARGV  1 prefix of a task's key
-- returns {now, [pending, active, archived, completed, retry, scheduled], ms that the longest pending task waits or -1,
--          1 when the queue is paused, asynq servers alive, [what cannot be read]}
local TAIL = 10

local problems = {}
local function read(default, command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) == 'table' and reply.err then
    problems[#problems + 1] = key .. ': ' .. reply.err
    return default
  end
  return reply or default
end

local counts = {read(0, 'LLEN', KEYS[1]), read(0, 'LLEN', KEYS[2])}
for set = 3, 6 do counts[set] = read(0, 'ZCARD', KEYS[set]) end

read(0, 'ZCARD', KEYS[9]) -- the leases of running tasks, which a hand-off needs

local waits = -1
local tail = counts[1] > 0 and read({}, 'LRANGE', KEYS[1], -TAIL, -1) or {}
for n = #tail, 1, -1 do -- a task put back by a consumer stands at the end and has no pending_since
  local since = redis.pcall('HGET', ARGV[1] .. tail[n], 'pending_since')
  if type(since) == 'string' and tonumber(since) then
    waits = math.max(0, now - math.floor(tonumber(since) / 1000000))
    break
  end
end
local servers = redis.pcall('ZCOUNT', KEYS[8], math.floor(now / 1000), '+inf') -- for a sentence only
if type(servers) ~= 'number' then servers = 0 end
return {now, counts, waits, read(0, 'EXISTS', KEYS[7]), servers, problems}
