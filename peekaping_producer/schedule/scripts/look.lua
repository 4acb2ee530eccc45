-- Reads single monitors, the distribution of due times, and events: what pages and commands show. Reads no whole set.
-- Returns {now, [id, due time, ... the longest overdue], [id, token, ... the leases that end first],
-- [number of monitors due until the end of each slot, cumulative], [event id, event, ...], why events were refused or '',
-- [id, token, intended due time, ... the longest overdue of those that are claimed]}.
local DUE, LEASE, EVENTS, WATCHED, LATE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local most, first_slot, width, slots = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]) -- ms
local seen, most_events = ARGV[5], tonumber(ARGV[6]) -- id of the last event that the caller has read, or ''
local watched_for = tonumber(ARGV[7]) -- ms for which replicas shall report every second; 0 for none

local MAX_ID_BYTES, MAX_EVENT_BYTES = 64, 5000

-- Members and their scores, without oversized members.
local function members(...)
  if most == 0 then return {} end -- a range of 0 to -1 is the whole set
  local reply, found = read({}, 'ZRANGE', ...), {}
  for i = 1, #reply, 2 do
    if #reply[i] <= MAX_ID_BYTES then
      found[#found + 1] = reply[i]
      found[#found + 1] = exact(tonumber(reply[i + 1]))
    end
  end
  return found
end

local function longest_claimed()
  local first, ids, found = members(LATE, 0, most - 1, 'WITHSCORES'), {}, {}
  for i = 1, #first, 2 do ids[#ids + 1] = first[i] end
  local tokens = #ids > 0 and redis.pcall('ZMSCORE', LEASE, unpack(ids)) or {}
  for n = 1, tokens.err and 0 or #tokens do
    if tokens[n] then
      for _, part in ipairs({ids[n], exact(tonumber(tokens[n])), first[2 * n]}) do found[#found + 1] = part end
    end
  end
  return found
end

local function due_until_each_slot()
  local counts = {}
  for n = 0, slots - 1 do
    counts[n + 1] = read(0, 'ZCOUNT', DUE, '-inf', '(' .. exact(first_slot + (n + 1) * width))
  end
  return counts
end

-- The events after the one that was seen, or the latest ones; the oldest first.
local function events()
  if most_events == 0 then return {}, '' end
  local reply
  if seen ~= '' then
    reply = redis.pcall('XRANGE', EVENTS, '(' .. seen, '+', 'COUNT', most_events)
  else
    reply = redis.pcall('XREVRANGE', EVENTS, '+', '-', 'COUNT', most_events)
  end
  if reply.err then return {}, reply.err end
  local found = {}
  for n = 1, #reply do
    local entry = reply[seen ~= '' and n or #reply + 1 - n]
    local text = entry[2][2] or ''
    found[#found + 1] = entry[1]
    found[#found + 1] = #text <= MAX_EVENT_BYTES and text or '' -- the caller needs the id to read on
  end
  return found, ''
end

if watched_for > 0 then redis.pcall('SET', WATCHED, 1, 'PX', watched_for) end -- without it reports come every 5 s
local overdue = members(DUE, '-inf', now, 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
local leases = members(LEASE, 0, most - 1, 'WITHSCORES')
local found, refusal = events()
return {now, overdue, leases, due_until_each_slot(), found, refusal, longest_claimed()}
