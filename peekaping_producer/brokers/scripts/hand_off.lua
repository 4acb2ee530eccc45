-- Enqueues the tasks of one claim and reschedules their monitors: for each monitor both or neither.
-- Returns {now, [index from 1, 'lost' | 'overlap' | 'replaced', ...], [index, ticks without a completed check, ...],
-- [index of a task whose key had a value of another type, ...]}.
-- A monitor that the first list does not contain was enqueued. The second contains those with many such ticks.
local DUE, LEASE, QUEUES, PENDING, ACTIVE, ASYNQ_LEASE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local RETRY, SCHEDULED, ARCHIVED, COMPLETED, LATE = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local token, queue, task_key_prefix, task_id_prefix = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local width = tonumber(ARGV[5]) -- values for each monitor: 4 with its phase, while ticks are spread, otherwise 3
local ids, periods = arguments(6, width), arguments(7, width) -- at most 1,000; ms
local messages, phases = arguments(8, width), width == 4 and arguments(9, width) or {} -- TaskMessages; ms

local UNCOMPLETED_REPORTED = 5 -- ticks
local MAX_TAIL = 50
local MAX_LPOS = 4 -- each costs the length of the list; for more, one LRANGE is cheaper

local task_ids, task_keys = {}, {}
for i, id in ipairs(ids) do
  task_ids[i] = task_id_prefix .. id
  task_keys[i] = task_key_prefix .. task_ids[i]
end

local outcomes, overlapping, wrong_type = {}, {}, {}
local function add(list, index, value)
  list[#list + 1] = index
  list[#list + 1] = value
end

-- Of the indexes `held`: those whose task's key is free, and those where there is a task already.
local function split(held)
  if redis.call('EXISTS', unpack(task_keys)) == 0 then return held, {} end
  local free, taken = {}, {}
  for _, i in ipairs(held) do
    local list = redis.call('EXISTS', task_keys[i]) == 0 and free or taken
    list[#list + 1] = i
  end
  return free, taken
end

-- When the oldest pending task was enqueued, in ns as a string; nil if no task at the end of the list has a usable time.
local function oldest_pending_since()
  local tail = redis.call('LRANGE', PENDING, -MAX_TAIL, -1)
  for n = #tail, 1, -1 do -- a task put back by a consumer is at the very end and has no pending_since
    -- The entry may be anything, with a key of any type.
    local since = redis.pcall('HGET', task_key_prefix .. tail[n], 'pending_since')
    if is_past(since) then return since end
  end
end

local length, oldest_since -- of the pending list, before any push
local lpos_left, everything_pending = MAX_LPOS, nil
-- Whether a task in state pending is in the list. The list is first in, first out: none is older than its end.
local function is_queued(task_id, since)
  if length == 0 then return false end
  if since and oldest_since and #since == #oldest_since and since >= oldest_since then return true end
  if lpos_left > 0 then
    lpos_left = lpos_left - 1
    return redis.call('LPOS', PENDING, task_id) ~= false
  end
  if not everything_pending then
    everything_pending = {}
    for _, id in ipairs(redis.call('LRANGE', PENDING, 0, -1)) do everything_pending[id] = true end
  end
  return everything_pending[task_id] == true
end

local pushed, stuck = {}, {} -- task ids; of those, the ones replaced although they were in another state
local function enqueue(i)
  redis.call('HSET', task_keys[i], 'msg', messages[i], 'state', 'pending', 'pending_since', now_ns)
  pushed[#pushed + 1] = task_ids[i]
end

-- Counts one more tick for which a worker has taken the task and not completed it. The fields end with the task.
local function count_uncompleted(i)
  local key = task_keys[i]
  local ticks = redis.call('HINCRBY', key, UNCOMPLETED_TICKS, 1)
  if not is_past(redis.call('HGET', key, UNCOMPLETED_SINCE)) then redis.call('HSET', key, UNCOMPLETED_SINCE, now_ns) end
  if ticks >= UNCOMPLETED_REPORTED then add(overlapping, i, ticks) end
end

-- Keeps the task that already exists for a monitor, or replaces it if it is stuck.
local function keep_or_replace(i)
  local task_id, key = task_ids[i], task_keys[i]
  local task = redis.pcall('HMGET', key, 'state', 'pending_since', 'msg')
  local state, since = task[1], task[2]
  local kind = kind_of_task(task, task_id, ASYNQ_LEASE, is_queued)
  if kind == WRONG_TYPE then
    redis.call('DEL', key)
    enqueue(i)
    add(outcomes, i, 'replaced')
    wrong_type[#wrong_type + 1] = i
  elseif kind == QUEUED then
    -- It keeps its place and gets the new message: Go's workers discard tasks older than one and a half intervals.
    redis.call('HSET', key, 'msg', messages[i])
    -- A worker put it back, which had taken it before the others; or the clock of a producer is ahead.
    if not is_past(since) then redis.call('HSET', key, 'pending_since', oldest_since or now_ns) end
    add(outcomes, i, 'overlap')
  elseif kind == RUNNING then
    count_uncompleted(i)
    add(outcomes, i, 'overlap')
  else
    enqueue(i)
    redis.call('HDEL', key, 'unique_key')
    if state == 'active' or state == 'archived' then
      count_uncompleted(i)
    else
      redis.call('HDEL', key, UNCOMPLETED_TICKS, UNCOMPLETED_SINCE)
    end
    if state == 'active' then redis.call('LREM', ACTIVE, 0, task_id) end
    stuck[#stuck + 1] = task_id
    add(outcomes, i, 'replaced')
  end
end

-- The fence: what the claim no longer holds is lost.
local held = held_by(token, LEASE, ids)
local due, leaving = {}, {}
for i = 1, #ids do
  local n = #leaving + 1
  if held[n] == i then
    due[2 * n - 1], due[2 * n], leaving[n] = next_tick(periods[i], phases[i] or 0), ids[i], ids[i]
  else
    add(outcomes, i, 'lost')
  end
end
if #held == 0 then return {now, outcomes, overlapping, wrong_type} end

local free, taken = split(held)
if #taken > 0 then
  length, oldest_since = redis.call('LLEN', PENDING), oldest_pending_since()
end
-- Writes that need memory come first: Redis refuses only a script's first write when it is full.
for _, i in ipairs(free) do enqueue(i) end
for _, i in ipairs(taken) do keep_or_replace(i) end
redis.call('SADD', QUEUES, queue) -- before the schedule changes: a key of another type fails here
if #pushed > 0 then redis.call('LPUSH', PENDING, unpack(pushed)) end
redis.call('ZADD', DUE, unpack(due))
redis.call('ZREM', LEASE, unpack(leaving))
if redis.call('EXISTS', LATE) == 1 then redis.call('ZREM', LATE, unpack(leaving)) end

if #stuck > 0 then
  for _, set in ipairs({ASYNQ_LEASE, RETRY, SCHEDULED}) do redis.call('ZREM', set, unpack(stuck)) end
end
if #pushed > 0 then
  for _, set in ipairs({ARCHIVED, COMPLETED}) do -- by a stale entry there, asynq would delete the new task later
    if redis.call('EXISTS', set) == 1 then redis.call('ZREM', set, unpack(pushed)) end
  end
end
return {now, outcomes, overlapping, wrong_type}
