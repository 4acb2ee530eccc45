-- Follows the clock in every script of transports.asynq.

local LEASE_S = 30 -- asynq's, from now
local KEEP_S = 90 * 24 * 3600 -- how long asynq keeps the counters of a day, and what is archived

local now_s = math.floor(now / 1000)

-- Every `step`th argument from ARGV[first] on.
local function arguments(first, step)
  local found, count = {}, 0
  for i = first, #ARGV, step do
    count = count + 1
    found[count] = ARGV[i]
  end
  return found
end

-- The reply of a command that reads a key; nil if the key has another type. All other errors, such as a missing
-- permission, are raised: they must not look like a task that does not exist.
local function read(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE') then return nil end
  return redis.call(...)
end

-- The score of a lease from now on. Its fraction is the token of the holder (k / 2^20): Go's leases have none, and no
-- other holder has the same. A double holds it exactly until the year 2242.
local function lease_until(token) return now_s + LEASE_S + token end

-- Whether the lease with this score is that of the holder of `token`, and has not ended.
local function is_held(score, token)
  score = tonumber(score)
  return score ~= nil and score > now / 1000 and score % 1 == token
end

-- Whether the caller may end the run of a task: with a token, the holder; without one, a recoverer, if nothing holds it.
local RECOVER_AFTER_S = 30 -- after the end of a lease, since the clocks of Go's workers differ
local function may_end(lease, id, token)
  local score = redis.call('ZSCORE', lease, id)
  if token > 0 then return is_held(score, token) end
  return not score or tonumber(score) <= now_s - RECOVER_AFTER_S
end

-- The date of now in UTC, as in the names of asynq's counters (days since 0000-03-01: a leap day is then the last).
local function today()
  local days = math.floor(now_s / 86400) + 719468
  local era = math.floor(days / 146097) -- of 400 years
  local day = days - era * 146097
  local year = math.floor((day - math.floor(day / 1460) + math.floor(day / 36524) - math.floor(day / 146096)) / 365)
  day = day - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * day + 2) / 153) -- 0 is March
  day = day - math.floor((153 * month + 2) / 5) + 1
  year = year + era * 400 + (month >= 10 and 1 or 0)
  return string.format('%04d-%02d-%02d', year, month < 10 and month + 3 or month - 9, day)
end

-- Adds to a total and to the count of today. Last in a script: a counter of another type must not stop it.
local function count(queue_prefix, name, number)
  if number == 0 then return end
  local total, daily = queue_prefix .. name, queue_prefix .. name .. ':' .. today()
  local reply = redis.pcall('INCRBY', total, number)
  if type(reply) == 'table' and string.find(reply.err, 'overflow') then redis.call('SET', total, number) end
  if redis.pcall('INCRBY', daily, number) == number then redis.call('EXPIRE', daily, KEEP_S) end
end

