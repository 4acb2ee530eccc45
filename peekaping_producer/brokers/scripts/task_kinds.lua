-- Reads what the next hand-offs will find in place of new tasks of some monitors; writes nothing.
-- Returns for each monitor '', queued (the list is not searched), running, stuck or wrong_type.
local ASYNQ_LEASE = KEYS[1]
local task_key_prefix, task_id_prefix = ARGV[1], ARGV[2]
local ids = arguments(3, 1)

local function is_queued() return true end

local kinds = {}
for i, id in ipairs(ids) do
  local task_id = task_id_prefix .. id
  local key = task_key_prefix .. task_id
  local task = redis.call('EXISTS', key) == 1 and redis.pcall('HMGET', key, 'state', 'pending_since', 'msg')
  kinds[i] = task and kind_of_task(task, task_id, ASYNQ_LEASE, is_queued) or ''
end
return kinds
