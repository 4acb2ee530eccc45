-- Follows the prelude of the schedule in every script of brokers.

-- Fields of a task, which end with it: the ticks for which a worker had taken it and not completed it (running, died
-- or failed), and the first of them in ns. asynq ignores them.
local UNCOMPLETED_TICKS, UNCOMPLETED_SINCE = 'peekaping:overlaps', 'peekaping:uncompleted_since'

-- Whether a field contains a time in ns, as asynq writes it, that is not later than now.
local function is_past(field)
  if type(field) ~= 'string' or not string.find(field, '^%d+$') then return false end
  return #field < #now_ns or #field == #now_ns and field <= now_ns
end
