-- Moves an active task to the archive, and deletes what is too old or too much there.
-- Returns whether the caller was allowed to end its run: 1 or 0.
local ACTIVE, LEASE, ARCHIVED = KEYS[1], KEYS[2], KEYS[3]
local queue_prefix, id, token = ARGV[1], ARGV[2], tonumber(ARGV[3]) -- 0 for a recoverer
local message, max_archived = ARGV[4], tonumber(ARGV[5]) -- a TaskMessage

local MAX_DELETED = 1000

-- Deletes tasks of the archive. An id of another state is a new task: only its entry in the archive is stale.
local function delete(ids)
  for _, old in ipairs(ids) do
    local key = queue_prefix .. 't:' .. old
    if redis.pcall('HGET', key, 'state') == 'archived' then redis.call('DEL', key) end
  end
  if #ids > 0 then redis.call('ZREM', ARCHIVED, unpack(ids)) end
end

if not may_end(LEASE, id, token) then return 0 end
redis.call('ZCARD', ARCHIVED) -- a key of another type fails here
local active = redis.call('LREM', ACTIVE, 0, id) > 0
redis.call('ZREM', LEASE, id)
if not active then return 0 end -- only a stale lease
redis.call('ZADD', ARCHIVED, now_s, id)
redis.call('HSET', queue_prefix .. 't:' .. id, 'msg', message, 'state', 'archived')
delete(redis.call('ZRANGE', ARCHIVED, '-inf', now_s - KEEP_S, 'BYSCORE', 'LIMIT', 0, MAX_DELETED))
local surplus = math.min(redis.call('ZCARD', ARCHIVED) - max_archived, MAX_DELETED)
if surplus > 0 then delete(redis.call('ZRANGE', ARCHIVED, 0, surplus - 1)) end
count(queue_prefix, 'processed', 1)
count(queue_prefix, 'failed', 1)
return 1
