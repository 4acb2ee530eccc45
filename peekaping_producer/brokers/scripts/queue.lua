-- Reads the state of the queue.
-- Returns {now, [pending, active, archived, completed, retry, scheduled], age in ms of the longest pending task or -1,
-- 1 if the queue is paused, asynq servers alive, [keys that cannot be read, with the reason], the next task or '',
-- tasks that workers took and have not completed for long, ms since the first of them was not,
-- [ServerInfo of a worker process, ...], tasks that workers have finished or '', [pending, age in ms or -1] of results,
-- when the queue was paused in s, or ''}.
local PENDING, ACTIVE, ARCHIVED, COMPLETED, RETRY, SCHEDULED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local PAUSED, SERVERS, LEASE, PROCESSED, RESULTS = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local task_key_prefix, result_key_prefix = ARGV[1], ARGV[4]
local uncompleted_ticks, uncompleted_ms = tonumber(ARGV[2]), tonumber(ARGV[3]) -- from which on it is long

local SAMPLE = 200 -- entries of each list, at most
local MAX_ID_LENGTH = 200 -- bytes
local MAX_SERVERS, MAX_SERVER_BYTES = 50, 10000
local ARCHIVED_WITHIN_S = 600 -- what is older need not be of a monitor that still runs

local function age_of(ns) return math.max(0, now - math.floor(tonumber(ns) / 1000000)) end

-- The next task, and the age of the longest pending one in ms; '' and -1 if they are not known.
local function oldest_pending()
  local tail = read({}, 'LRANGE', PENDING, -SAMPLE, -1)
  for n = #tail, 1, -1 do -- a task put back by a consumer is at the end, until its next tick without pending_since
    local since = redis.pcall('HGET', task_key_prefix .. tail[n], 'pending_since')
    if is_past(since) then return tail[#tail], age_of(since) end
  end
  return tail[#tail] or '', -1
end

-- Entries of the list, from all parts of it.
local function sampled(list, length)
  if length == 0 then return {} end
  if length <= SAMPLE then return redis.call('LRANGE', list, 0, -1) end
  local ids = {}
  for n = 0, SAMPLE - 1 do
    local at = math.floor(n * length / SAMPLE)
    ids[#ids + 1] = redis.call('LRANGE', list, at, at)[1]
  end
  return ids
end

local uncompleted, uncompleted_for = 0, 0
-- Adds what workers took and have not completed for long, from a sample of `total` tasks.
local function add_uncompleted(ids, total)
  local found = 0
  for _, id in ipairs(ids) do
    local task = redis.pcall('HMGET', task_key_prefix .. id, UNCOMPLETED_TICKS, UNCOMPLETED_SINCE)
    local ticks, since = tonumber(task[1]), task[2]
    if ticks and ticks >= uncompleted_ticks and is_past(since) and age_of(since) > uncompleted_ms then
      found = found + 1
      uncompleted_for = math.max(uncompleted_for, age_of(since))
    end
  end
  if found > 0 then uncompleted = uncompleted + math.floor(found * total / #ids) end
end

-- What worker processes have registered. As with all that follows, it is only shown: no error is a problem.
local function server_infos()
  local keys = redis.pcall('ZRANGE', SERVERS, math.floor(now / 1000), '+inf', 'BYSCORE', 'LIMIT', 0, MAX_SERVERS)
  local found = {}
  if keys.err then return found end
  for _, key in ipairs(keys) do
    local info = redis.pcall('GET', key)
    if type(info) == 'string' and #info <= MAX_SERVER_BYTES then found[#found + 1] = info end
  end
  return found
end

-- The number in a key, 0 if there is no key; '' if it cannot be read.
local function counter(key)
  local value = redis.pcall('GET', key)
  if not value then return '0' end
  return type(value) == 'string' and value or ''
end

-- How many results wait to be stored, and for how long the next of them.
local function waiting_results()
  local pending = redis.pcall('LLEN', RESULTS)
  if type(pending) ~= 'number' or pending == 0 then return {0, -1} end
  local since = redis.pcall('HGET', result_key_prefix .. redis.call('LRANGE', RESULTS, -1, -1)[1], 'pending_since')
  return {pending, is_past(since) and age_of(since) or -1}
end

local counts = {read(0, 'LLEN', PENDING), read(0, 'LLEN', ACTIVE)}
for _, set in ipairs({ARCHIVED, COMPLETED, RETRY, SCHEDULED}) do counts[#counts + 1] = read(0, 'ZCARD', set) end
read(0, 'ZCARD', LEASE) -- a hand-off needs it

local next_task, age = '', -1
if counts[1] > 0 then next_task, age = oldest_pending() end
add_uncompleted(sampled(ACTIVE, counts[2]), counts[2]) -- running, or their workers died
local archived_since = now / 1000 - ARCHIVED_WITHIN_S -- failed, or their workers died
if counts[3] > 0 then
  local recent = redis.call('ZRANGE', ARCHIVED, '+inf', archived_since, 'BYSCORE', 'REV', 'LIMIT', 0, SAMPLE)
  add_uncompleted(recent, redis.call('ZCOUNT', ARCHIVED, archived_since, '+inf'))
end

local servers = redis.pcall('ZCOUNT', SERVERS, math.floor(now / 1000), '+inf') -- only shown, so never a problem
if type(servers) ~= 'number' then servers = 0 end
next_task = string.sub(next_task, 1, MAX_ID_LENGTH)
local paused = read(0, 'EXISTS', PAUSED)
return {now, counts, age, paused, servers, problems, next_task, uncompleted, uncompleted_for, server_infos(),
  counter(PROCESSED), waiting_results(), paused == 1 and counter(PAUSED) or ''}
