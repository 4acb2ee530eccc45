-- Looks at the schedule at one instant, and sees whether Redis accepts writes by writing a replica's report or a probe.
-- KEYS  1 due  2 lease  3 leader  4 late  5 replicas  6 probe
-- ARGV  1 lease TTL in ms  2 node, or '' for a look from outside  3 its report  4 how old a report may become in ms
-- returns {now, due, leased, overdue, late, due time that was meant of the longest overdue or '', its id,
--          ms from now + lease TTL to the end of the last lease, leader or '', ms until the leader's key ends, [what cannot be read], why a write was refused or '',
--          [node, 'ms since the epoch' .. ' ' .. report, ...]}
local problems = {}
local function read(default, command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) == 'table' and reply.err then
    problems[#problems + 1] = key .. ': ' .. reply.err
    return default
  end
  return reply or default
end

local due, leased = read(0, 'ZCARD', KEYS[1]), read(0, 'ZCARD', KEYS[2])
local overdue, late = 0, 0
local first, first_score, lease_excess = '', nil, 0
local function consider(reply, score)
  if score and (not first_score or score < first_score) and score <= now then first, first_score = reply[1], score end
end
if #problems == 0 then
  overdue, late = read(0, 'ZCOUNT', KEYS[1], '-inf', now), read(0, 'ZCARD', KEYS[4])
  local reply = read({}, 'ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  consider(reply, tonumber(reply[2]))
  reply = read({}, 'ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
  consider(reply, tonumber(reply[2]))
  reply = read({}, 'ZRANGE', KEYS[2], 0, 0, 'WITHSCORES') -- claimed at the end of its lease less the TTL, or before
  consider(reply, reply[2] and math.floor(tonumber(reply[2])) - ARGV[1])
  reply = read({}, 'ZRANGE', KEYS[2], 0, 0, 'REV', 'WITHSCORES')
  lease_excess = reply[2] and math.max(0, math.min(math.floor(tonumber(reply[2])) - now - ARGV[1], 2 ^ 53)) or 0
end

local written
if ARGV[2] ~= '' then
  written = redis.pcall('HSET', KEYS[5], ARGV[2], now .. ' ' .. ARGV[3])
else
  written = redis.pcall('SET', KEYS[6], now, 'PX', 1000)
end
local refusal = type(written) == 'table' and written.err or ''
local reports, too_large = read({}, 'HGETALL', KEYS[5]), 100000
for i = 2, #reports, 2 do
  if #reports[i] > too_large or #reports[i - 1] > 200 then reports[i - 1], reports[i] = '', '' end -- no replica's
end
if ARGV[2] ~= '' and refusal == '' then
  for i = 2, #reports, 2 do
    local at = tonumber(string.match(reports[i], '^%d+')) or 0
    if reports[i - 1] ~= '' and (at < now - ARGV[4] or at > now + ARGV[4]) then redis.call('HDEL', KEYS[5], reports[i - 1]) end
  end
  redis.call('PEXPIRE', KEYS[5], 10 * ARGV[4])
end
return {
  now,
  due,
  leased,
  overdue,
  late,
  first_score and string.format('%.17g', first_score) or '',
  first,
  lease_excess,
  string.sub(read('', 'GET', KEYS[3]), 1, 200),
  read(-2, 'PTTL', KEYS[3]),
  problems,
  refusal,
  reports,
}
