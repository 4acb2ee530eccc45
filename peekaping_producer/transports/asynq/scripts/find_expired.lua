-- Finds active tasks that nothing holds: their lease ended 30 s ago or more, or they have none. Drops those without a task.
-- Returns {now in ms, [id, TaskMessage, ...], number of ids that were dropped}.
local ACTIVE, LEASE = KEYS[1], KEYS[2]
local queue_prefix, skip, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local CHUNK = 1000
local MAX_BYTES = 4 * 1024 * 1024 -- of messages in one reply; the last one may exceed it
local found, dropped, seen, bytes = {}, 0, {}, 0

local function add(id)
  if seen[id] then return end
  seen[id] = true
  local message = read('HGET', queue_prefix .. 't:' .. id, 'msg')
  if message then
    if skip > 0 then
      skip = skip - 1
    else
      found[#found + 1], found[#found + 2] = id, message
      bytes = bytes + #message
    end
  else
    redis.call('LREM', ACTIVE, 0, id)
    redis.call('ZREM', LEASE, id)
    dropped = dropped + 1
  end
end

local function is_full() return #found >= 2 * limit or bytes >= MAX_BYTES end

local cutoff = now_s - RECOVER_AFTER_S
for _, id in ipairs(redis.call('ZRANGE', LEASE, '-inf', cutoff, 'BYSCORE', 'LIMIT', 0, skip + limit)) do
  if not is_full() then add(id) end
end

local start, active = 0, {}
while not is_full() do
  active = redis.call('LRANGE', ACTIVE, start, start + CHUNK - 1)
  if #active == 0 then break end
  local scores = redis.call('ZMSCORE', LEASE, unpack(active))
  for i, id in ipairs(active) do
    if not scores[i] and not is_full() then add(id) end
  end
  start = start + CHUNK
end
return {now, found, dropped}
