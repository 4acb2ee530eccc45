-- Reads the state of the schedule, and finds out whether Redis accepts writes by writing a replica's report or a probe.
-- Adds the fleet events of a replica to their stream. Removes the request for a sync that the replica has answered.
-- Returns {now, due, leased, overdue in due, late, intended due time of the longest overdue or '', its id,
-- ms by which the last lease ends after now + lease TTL, leader or '', ms until the leader key expires,
-- [keys that cannot be read, with the reason], why a write was refused or '',
-- [node, 'ms since the epoch' .. ' ' .. report, ...], [token of the claim whose lease ends first, its monitors] or [],
-- the hold on all monitors or '', 1 if a page is open, why events were refused or '', request for a sync or '',
-- due time of the longest overdue monitor that no claim holds or '', number of held monitors,
-- intended due time of the first monitor that is attempted again or '', late monitors whose next attempt is postponed}.
local DUE, LEASE, LEADER, LATE, REPLICAS, PROBE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local HELD, WATCHED, EVENTS, SYNC_REQUESTED = KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local lease_ttl, longest_age = tonumber(ARGV[1]), tonumber(ARGV[4]) -- ms; of a report
local node, report = ARGV[2], ARGV[3] -- node is '' for a status command
local answered = ARGV[5] -- request for a sync, or ''
local events = arguments(6, 1)

local MAX_NODE_BYTES, MAX_REPORT_BYTES = 200, 100000 -- bytes; no replica writes more
local MAX_LEADER_BYTES = 200 -- bytes
local MAX_REQUEST_BYTES = 1000
local MAX_RETRIED = 100 -- that are examined; of more, the number of postponed ones is an estimate

-- The first or last member of a sorted set and its score, or nil.
local function at_end(set, ...)
  local reply = read({}, 'ZRANGE', set, 0, 0, ...)
  return reply[1], tonumber(reply[2])
end

-- The monitor that is overdue for longest and its intended due time, or '' and ''.
local function longest_overdue()
  local id, since = '', nil
  for _, set in ipairs({DUE, LATE, LEASE}) do
    local member, score = at_end(set, 'WITHSCORES')
    if set == LEASE and score then score = math.floor(score) - lease_ttl end -- claimed then, or before
    if score and score <= now and (not since or score < since) then id, since = member, score end
  end
  return id, since and exact(since) or ''
end

-- The due time of the longest overdue monitor that no claim holds, or ''.
local function longest_unclaimed()
  local _, score = at_end(DUE, 'WITHSCORES')
  return score and score <= now and exact(score) or ''
end

-- The intended due time of the first monitor that was claimed, not handed off, and is not postponed, or ''; and how many
-- of the `late` monitors are postponed.
local function retried_and_postponed(late)
  local first, ids = read({}, 'ZRANGE', LATE, 0, MAX_RETRIED - 1, 'WITHSCORES'), {}
  for i = 1, #first, 2 do ids[#ids + 1] = first[i] end
  if #ids == 0 then return '', 0 end
  local retried, postponed = '', 0
  for n, score in ipairs(redis.call('ZMSCORE', DUE, unpack(ids))) do
    if score and is_postponed(tonumber(score)) then
      postponed = postponed + 1
    elseif retried == '' then
      retried = first[2 * n]
    end
  end
  return retried, math.floor(postponed * late / #ids)
end

-- How much later the last lease ends than one that begins now, in ms.
local function lease_excess()
  local _, last = at_end(LEASE, 'REV', 'WITHSCORES')
  return last and math.max(0, math.min(math.floor(last) - now - lease_ttl, 2 ^ 53)) or 0
end

-- Why Redis refuses to write the report or the probe; '' if it accepts.
local function refusal_of_writes()
  local written
  if node ~= '' then
    written = redis.pcall('HSET', REPLICAS, node, now .. ' ' .. report)
  else
    written = redis.pcall('SET', PROBE, now, 'PX', 1000)
  end
  return type(written) == 'table' and written.err or ''
end

-- The token of the claim whose lease ends first and the number of its monitors, or nothing.
local function oldest_claim()
  local _, token = at_end(LEASE, 'WITHSCORES')
  if not token then return {} end
  return {exact(token), redis.call('ZCOUNT', LEASE, exact(token), exact(token))}
end

-- The hold on all monitors or '', and the number of other holds. Removes holds that have ended.
local function holds()
  local all, count, reply = '', 0, redis.pcall('HGETALL', HELD)
  for n = 1, reply.err and 0 or #reply, 2 do
    local id, value = reply[n], reply[n + 1]
    if not hold_end(value, id == ALL and MAX_HOLD_ALL_MS or MAX_HOLD_MS) then
      redis.pcall('HDEL', HELD, id)
    elseif id == ALL then
      all = value
    else
      count = count + 1
    end
  end
  return all, count
end

-- The request for a sync, or ''.
local function sync_request()
  local request = redis.pcall('GET', SYNC_REQUESTED)
  if type(request) ~= 'string' or #request > MAX_REQUEST_BYTES then return '' end
  if request ~= answered then return request end
  redis.pcall('DEL', SYNC_REQUESTED)
  return ''
end

-- Removes reports of replicas that no longer run.
local function forget_old(reports)
  for i = 2, #reports, 2 do
    local at = tonumber(string.match(reports[i], '^%d+')) or 0
    local is_old = at < now - longest_age or at > now + longest_age
    if reports[i - 1] ~= '' and is_old then redis.call('HDEL', REPLICAS, reports[i - 1]) end
  end
  redis.call('PEXPIRE', REPLICAS, 10 * longest_age)
end

local due, leased = read(0, 'ZCARD', DUE), read(0, 'ZCARD', LEASE)
local overdue, late, id, since, excess, claim, unclaimed, retried, postponed = 0, 0, '', '', 0, {}, '', '', 0
if #problems == 0 then
  overdue, late = read(0, 'ZCOUNT', DUE, '-inf', now), read(0, 'ZCARD', LATE)
  id, since = longest_overdue()
  excess, claim, unclaimed = lease_excess(), oldest_claim(), longest_unclaimed()
  retried, postponed = retried_and_postponed(late)
end

local refusal = refusal_of_writes()
local reports = read({}, 'HGETALL', REPLICAS)
for i = 2, #reports, 2 do
  if #reports[i] > MAX_REPORT_BYTES or #reports[i - 1] > MAX_NODE_BYTES then reports[i - 1], reports[i] = '', '' end
end
if node ~= '' and refusal == '' then forget_old(reports) end

local leader, leader_ttl = read('', 'GET', LEADER), read(-2, 'PTTL', LEADER)
leader = string.sub(leader, 1, MAX_LEADER_BYTES)
local watched = redis.pcall('EXISTS', WATCHED) == 1 and 1 or 0
local events_refused = refusal == '' and add_events(EVENTS, events) or ''
local held_all, held = holds()
return {now, due, leased, overdue, late, since, id, excess, leader, leader_ttl, problems, refusal, reports,
  claim, held_all, watched, events_refused, sync_request(), unclaimed, held, retried, postponed}
