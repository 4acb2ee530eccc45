-- Deletes completed tasks whose retention is over.
-- Returns the number of entries that left the set.
local COMPLETED = KEYS[1]
local queue_prefix, limit = ARGV[1], tonumber(ARGV[2])

local expired = redis.call('ZRANGE', COMPLETED, '-inf', now_s, 'BYSCORE', 'LIMIT', 0, limit)
for _, id in ipairs(expired) do
  local key = queue_prefix .. 't:' .. id
  if redis.pcall('HGET', key, 'state') == 'completed' then redis.call('DEL', key) end -- else it is a new task
end
if #expired > 0 then redis.call('ZREM', COMPLETED, unpack(expired)) end
return #expired
