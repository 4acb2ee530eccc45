-- Reads what the schedule, the queue and the events contain of one monitor; writes nothing.
-- Returns {now, due time or '', token of its lease or '', intended due time or '', 1 if the due time is misaligned,
-- 1 if it is postponed, next tick or 0, task, [id of an event about the monitor, event, ... the latest first],
-- the hold on it or '', 1 if ticks are spread}.
-- The task is {} if there is none, or {queued | running | stuck | wrong_type, state, pending_since in ns or '',
-- place in the list from 1 (0: not in it, or not looked up), end of asynq's lease in s or '',
-- ticks without a completed check or '', the first of them in ns or '', TaskMessage or '',
-- 'host:process:server' of the worker that runs it or '', its WorkerInfo or ''}.
local DUE, LEASE, LATE, EVENTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local PENDING, ASYNQ_LEASE, SERVERS, HELD, SPREAD = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local id, task_id, task_key, workers_key = ARGV[1], ARGV[2], ARGV[3], ARGV[4] -- workers_key: without the server's name
local period, slack = tonumber(ARGV[5]), tonumber(ARGV[6]) -- ms; a period of 0 is not known
local longest_search = tonumber(ARGV[7]) -- entries of the list, from the end that workers dequeue
local phase = tonumber(ARGV[8]) -- ms

local MAX_MESSAGE_BYTES = 1000000 -- a longer message is not returned
local MAX_SERVERS = 50
local MAX_EVENTS, MAX_EVENT_BYTES = 5, 5000
local EVENTS_SEARCHED = 1000 -- about as many as the stream contains

-- The place of the task in the list, from the end that workers dequeue; 0 if it is not found.
local function place_of(length)
  local at = redis.call('LPOS', PENDING, task_id, 'RANK', -1, 'MAXLEN', longest_search)
  return at and length - at or 0
end

local function is_queued() return redis.call('LPOS', PENDING, task_id) ~= false end

-- The server that runs the task, and what it reports about that.
local function worker_of()
  local servers = redis.pcall('ZRANGE', SERVERS, math.floor(now / 1000), '+inf', 'BYSCORE', 'LIMIT', 0, MAX_SERVERS)
  for _, key in ipairs(servers) do
    local name = string.match(key, '{(.*)}$')
    local info = name and redis.pcall('HGET', workers_key .. '{' .. name .. '}', task_id)
    if type(info) == 'string' then return name, info end
  end
  return '', ''
end

local function task_state()
  if redis.call('EXISTS', task_key) == 0 then return {} end
  local task = redis.pcall('HMGET', task_key, 'state', 'pending_since', 'msg', UNCOMPLETED_TICKS, UNCOMPLETED_SINCE)
  local kind = kind_of_task(task, task_id, ASYNQ_LEASE, is_queued)
  if kind == WRONG_TYPE then return {kind, '', '', 0, '', '', '', '', '', ''} end
  local place = kind == QUEUED and place_of(redis.call('LLEN', PENDING)) or 0
  local lease = redis.call('ZSCORE', ASYNQ_LEASE, task_id) or ''
  local message = task[3] and #task[3] <= MAX_MESSAGE_BYTES and task[3] or ''
  local worker, info = '', ''
  if task[1] == 'active' then worker, info = worker_of() end
  return {kind, task[1] or '', task[2] or '', place, lease, task[4] or '', task[5] or '', message, worker, info}
end

-- The latest events about the monitor; without the right to read them, none.
local function events()
  local entries, found = redis.pcall('XREVRANGE', EVENTS, '+', '-', 'COUNT', EVENTS_SEARCHED), {}
  if entries.err then return found end
  for _, entry in ipairs(entries) do
    local event = entry[2][2]
    if event and #event <= MAX_EVENT_BYTES and string.find(event, id, 1, true) then
      found[#found + 1], found[#found + 2] = entry[1], event
      if #found == 2 * MAX_EVENTS then break end
    end
  end
  return found
end

local function hold()
  local found = redis.pcall('HGET', HELD, id)
  return type(found) == 'string' and found or ''
end

local due, lease, late = redis.call('ZSCORE', DUE, id), redis.call('ZSCORE', LEASE, id), redis.call('ZSCORE', LATE, id)
local score = due and tonumber(due)
local held = hold() -- until its end no tick is due
local misaligned = score and held == '' and period > 0 and is_misaligned(score, period, phase, slack) and 1 or 0
local postponed = score and is_postponed(score) and 1 or 0
local spread = spread_since(SPREAD) and 1 or 0
local tick = period > 0 and next_tick(period, spread * phase) or 0
return {now, due or '', lease or '', late or '', misaligned, postponed, tick, task_state(), events(), held, spread}
