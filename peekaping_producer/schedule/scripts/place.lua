-- Makes the schedule agree with what the database says of some monitors; refused when the term is over.
-- KEYS  1 due  2 lease  3 leader  4 late
-- ARGV  1 term  2 slack in ms (a clock step that must not move anything)
--       3 how far ahead of now a postponed due time may lie, in ms  4 '1' makes postponed monitors due now
--       then pairs (at most 1000): id, period in ms; a period of 0 takes the monitor out
-- returns {'stale'} or {'placed', added, removed, [ids left alone because they are leased], [id, score, ...]};
--       the last are due times that fit no tick: the caller reads those rows again, for a worker may have read newer
--       ones, and calls move
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return {'stale'} end

local slack, longest_delay, retry = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local ids = {}
for i = 5, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local due = redis.call('ZMSCORE', KEYS[1], unpack(ids))
local lease = redis.call('ZMSCORE', KEYS[2], unpack(ids))

local scores, removed, leased = {}, {}, {}
local misaligned = {}
local added = 0
for i, id in ipairs(ids) do
  local period = tonumber(ARGV[2 * i + 4])
  if period <= 0 then
    if due[i] or lease[i] then removed[#removed + 1] = id end
  elseif lease[i] then
    leased[#leased + 1] = id
  elseif not due[i] then
    added = added + 1
    scores[#scores + 1] = now
    scores[#scores + 1] = id
  else
    local score = tonumber(due[i])
    if score % 1 ~= 0 and score <= now + longest_delay + slack then
      -- Postponed after a failed attempt: left alone, or tried again now since its row may have been mended.
      if retry and score > now then
        scores[#scores + 1] = string.format('%.17g', now - 0.5)
        scores[#scores + 1] = id
      end
    elseif score > now + slack and (score % period ~= 0 or score > now + period + slack) then
      misaligned[#misaligned + 1] = id
      misaligned[#misaligned + 1] = due[i]
    end
  end
end
if #scores > 0 then redis.call('ZADD', KEYS[1], unpack(scores)) end
if #removed > 0 then
  redis.call('ZREM', KEYS[1], unpack(removed))
  redis.call('ZREM', KEYS[2], unpack(removed))
  redis.call('ZREM', KEYS[4], unpack(removed))
end
return {'placed', added, #removed, leased, misaligned}
