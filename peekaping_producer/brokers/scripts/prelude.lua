-- Follows the prelude of the schedule in every script of brokers.

-- Fields of a task, which end with it: the ticks for which a worker had taken it and not completed it (running, died
-- or failed), and the first of them in ns. asynq ignores them.
local UNCOMPLETED_TICKS, UNCOMPLETED_SINCE = 'peekaping:overlaps', 'peekaping:uncompleted_since'

-- Whether a field contains a time in ns, as asynq writes it, that is not later than now.
local function is_past(field)
  if type(field) ~= 'string' or not string.find(field, '^%d+$') then return false end
  return #field < #now_ns or #field == #now_ns and field <= now_ns
end

local ASYNQ_LEASE_ALLOWANCE_S = 30 -- asynq's leases are written by the consumers' clocks
-- asynq renews a lease to 30 s from now: one that ends later than that, the allowance and a step of the clock was
-- written by a clock far ahead, and might block its monitor for as long.
local MAX_ASYNQ_LEASE_S = 30 + ASYNQ_LEASE_ALLOWANCE_S + 5

-- Whether a worker runs the task: asynq's lease of it can be that of a running worker.
local function is_running(task_id, state, message, asynq_lease)
  local lease = state == 'active' and message and redis.call('ZSCORE', asynq_lease, task_id)
  local left = lease and tonumber(lease) - now / 1000
  return left and left > -ASYNQ_LEASE_ALLOWANCE_S and left <= MAX_ASYNQ_LEASE_S
end

-- What a monitor's earlier task is. A hand-off keeps one that is queued or running, and replaces any other.
local QUEUED, RUNNING, STUCK, WRONG_TYPE = 'queued', 'running', 'stuck', 'wrong_type'

-- `task`: the reply to HMGET of state, pending_since and msg; `is_queued(task_id, since)`: whether the list contains it.
local function kind_of_task(task, task_id, asynq_lease, is_queued)
  if task.err then return WRONG_TYPE end -- not a hash
  local state, since, message = task[1], task[2], task[3]
  if state == 'pending' and is_queued(task_id, since) then return QUEUED end
  return is_running(task_id, state, message, asynq_lease) and RUNNING or STUCK
end
