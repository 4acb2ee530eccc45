-- Enqueues the tasks of one claim and reschedules their monitors, all or nothing for each monitor.
-- KEYS  1 due  2 lease  3 asynq:queues, and of the queue: 4 pending  5 active  6 lease  7 retry  8 scheduled
--       9 archived  10 completed, and of the schedule: 11 late
-- ARGV  1 token  2 queue  3 prefix of a task's key  4 prefix of a task's id,
--       then triples (at most 1000): monitor id, period in ms, TaskMessage bytes
-- returns {now, [index from 1, 'lost' | 'overlap' | 'replaced', ...], [index, overlaps of its running task so far, ...]};
--       what is not listed in the first was enqueued; the second lists tasks that run for OVERLAPS_TO_TELL ticks or more,
--       and with 0 those whose key held something else than a task, which was replaced
local ASYNQ_LEASE_ALLOWANCE_S = 30 -- asynq's leases are written by the consumers' clocks
-- asynq renews a lease to 30 s from now: one that ends later than that, the allowance and a step of the clock was
-- written by a clock far ahead, and might silence its monitor for as long.
local LONGEST_ASYNQ_LEASE_S = 30 + ASYNQ_LEASE_ALLOWANCE_S + 5
local OVERLAPS = 'peekaping:overlaps' -- a field of the task, which ends with it
local OVERLAPS_TO_TELL = 5
local OLDEST_TO_LOOK_AT = 50
local LPOS_AT_MOST = 4 -- each costs the length of the list; beyond this one LRANGE is cheaper

local token = tonumber(ARGV[1])
local task_key_prefix, task_id_prefix = ARGV[3], ARGV[4]
local count = (#ARGV - 4) / 3
local outcomes, running = {}, {}
local function tell(index, outcome)
  outcomes[#outcomes + 1] = index
  outcomes[#outcomes + 1] = outcome
end

-- The fence: a lease that is not ours, or that has ended, reclaimed or not, is lost.
local ids = {}
for i = 1, count do ids[i] = ARGV[2 + 3 * i] end
local leases = redis.call('ZMSCORE', KEYS[2], unpack(ids))
local held = {} -- indexes
for i = 1, count do
  if token > now and leases[i] and tonumber(leases[i]) == token then
    held[#held + 1] = i
  else
    tell(i, 'lost')
  end
end
if #held == 0 then return {now, outcomes, running} end

local task_keys = {}
for n, i in ipairs(held) do task_keys[n] = task_key_prefix .. task_id_prefix .. ids[i] end
local fresh, conflicting = held, {}
if redis.call('EXISTS', unpack(task_keys)) > 0 then
  fresh = {}
  for n, i in ipairs(held) do
    local list = redis.call('EXISTS', task_keys[n]) == 0 and fresh or conflicting
    list[#list + 1] = i
  end
end

-- What the pending list looked like before anything is pushed.
local length, oldest_since
if #conflicting > 0 then
  length = redis.call('LLEN', KEYS[4])
  local tail = redis.call('LRANGE', KEYS[4], -OLDEST_TO_LOOK_AT, -1)
  for n = #tail, 1, -1 do -- a task put back by a consumer stands at the very end and has no pending_since
    -- The entry may be anything, with a key of any type behind it.
    local since = redis.pcall('HGET', task_key_prefix .. tail[n], 'pending_since')
    if type(since) == 'string' then
      oldest_since = since
      break
    end
  end
end

local lpos_left = LPOS_AT_MOST
local everything_pending
-- Whether a task in state pending really is in the list (the list is first in, first out: none is older than its end).
local function queued(task_id, since)
  if length == 0 then return false end
  if since and oldest_since and #since == #oldest_since and since >= oldest_since then return true end
  if lpos_left > 0 then
    lpos_left = lpos_left - 1
    return redis.call('LPOS', KEYS[4], task_id) ~= false
  end
  if not everything_pending then
    everything_pending = {}
    for _, id in ipairs(redis.call('LRANGE', KEYS[4], 0, -1)) do everything_pending[id] = true end
  end
  return everything_pending[task_id] == true
end

-- Writes that need memory come first: Redis refuses only a script's first write when it is full.
local pushed = {}
local function enqueue(i)
  local task_id = task_id_prefix .. ids[i]
  redis.call('HSET', task_key_prefix .. task_id, 'msg', ARGV[4 + 3 * i], 'state', 'pending', 'pending_since', now_ns)
  pushed[#pushed + 1] = task_id
end

for _, i in ipairs(fresh) do enqueue(i) end

local uprooted = {} -- ids of tasks that were in a state that ends nowhere
for _, i in ipairs(conflicting) do
  local task_id = task_id_prefix .. ids[i]
  local key = task_key_prefix .. task_id
  local task = redis.pcall('HMGET', key, 'state', 'pending_since', 'msg')
  local state = task[1]
  local asynq_lease = state == 'active' and task[3] and redis.call('ZSCORE', KEYS[6], task_id)
  local lease_left = asynq_lease and tonumber(asynq_lease) - now / 1000
  if task.err then -- no hash at all
    redis.call('DEL', key)
    enqueue(i)
    tell(i, 'replaced')
    running[#running + 1] = i
    running[#running + 1] = 0
  elseif state == 'pending' and queued(task_id, task[2]) then
    -- Kept in its place, but fresh: Go's workers discard tasks older than one and a half intervals.
    redis.call('HSET', key, 'msg', ARGV[4 + 3 * i])
    tell(i, 'overlap')
  elseif lease_left and lease_left > -ASYNQ_LEASE_ALLOWANCE_S and lease_left <= LONGEST_ASYNQ_LEASE_S then
    local overlaps = redis.call('HINCRBY', key, OVERLAPS, 1)
    if overlaps >= OVERLAPS_TO_TELL then
      running[#running + 1] = i
      running[#running + 1] = overlaps
    end
    tell(i, 'overlap')
  else
    enqueue(i)
    redis.call('HDEL', key, 'unique_key', OVERLAPS)
    if state == 'active' then redis.call('LREM', KEYS[5], 0, task_id) end
    uprooted[#uprooted + 1] = task_id
    tell(i, 'replaced')
  end
end

redis.call('SADD', KEYS[3], ARGV[2]) -- before the schedule changes: a key of another type fails here
if #pushed > 0 then redis.call('LPUSH', KEYS[4], unpack(pushed)) end
local rescheduled, leaving = {}, {}
for n, i in ipairs(held) do
  local period = ARGV[3 + 3 * i]
  rescheduled[2 * n - 1] = (math.floor(now / period) + 1) * period
  rescheduled[2 * n] = ids[i]
  leaving[n] = ids[i]
end
redis.call('ZADD', KEYS[1], unpack(rescheduled))
redis.call('ZREM', KEYS[2], unpack(leaving))
if redis.call('EXISTS', KEYS[11]) == 1 then redis.call('ZREM', KEYS[11], unpack(leaving)) end

if #uprooted > 0 then
  for set = 6, 8 do redis.call('ZREM', KEYS[set], unpack(uprooted)) end
end
if #pushed > 0 then -- a stale entry in these two would make asynq delete the live task later
  for set = 9, 10 do
    if redis.call('EXISTS', KEYS[set]) == 1 then redis.call('ZREM', KEYS[set], unpack(pushed)) end
  end
end
return {now, outcomes, running}
