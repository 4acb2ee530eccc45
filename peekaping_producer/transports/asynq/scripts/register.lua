-- Writes what a server is and what it runs, for asynq's tools; with a lifetime of 0 it removes both.
-- Returns nothing.
local SERVERS, WORKERS, SERVER, RUNNING = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl_s, info = tonumber(ARGV[1]), ARGV[2] -- a ServerInfo
local ids, workers = arguments(3, 2), arguments(4, 2) -- WorkerInfos

redis.call('DEL', RUNNING)
if ttl_s == 0 then
  redis.call('DEL', SERVER)
  redis.call('ZREM', SERVERS, SERVER)
  redis.call('ZREM', WORKERS, RUNNING)
  return
end
redis.call('SETEX', SERVER, ttl_s, info)
redis.call('ZADD', SERVERS, now_s + ttl_s, SERVER)
redis.call('ZADD', WORKERS, now_s + ttl_s, RUNNING)
for i, id in ipairs(ids) do redis.call('HSET', RUNNING, id, workers[i]) end
redis.call('EXPIRE', RUNNING, ttl_s)
