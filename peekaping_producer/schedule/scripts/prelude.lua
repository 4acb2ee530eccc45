-- Follows the clock in every script of the schedule and of brokers.

-- Every `step`th argument from ARGV[first] on.
local function arguments(first, step)
  local found, count = {}, 0
  for i = first, #ARGV, step do
    count = count + 1
    found[count] = ARGV[i]
  end
  return found
end

-- A number as Redis keeps it in a score: with all its digits.
local function exact(number) return string.format('%.17g', number) end

-- The token fence: indexes of the `ids` that the claim holds; none once it has ended, reclaimed or not.
local function held_by(token, lease, ids)
  local scores, held = redis.call('ZMSCORE', lease, unpack(ids)), {}
  for i = 1, #ids do
    if token > now and scores[i] and tonumber(scores[i]) == token then held[#held + 1] = i end
  end
  return held
end

-- The term fence: whether `term` leads.
local function leads(term, leader) return redis.call('GET', leader) == term end

-- Since when ticks are spread, in ms; nil if they are not. The leader writes the key (campaign.lua): '<ms> <its term>'.
local function spread_since(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and tonumber(string.match(value, '^%d+')) or nil
end

-- The first tick after an instant, in ms: a multiple of the period since the Unix epoch, plus the phase.
-- The phase is that of the monitor while ticks are spread, otherwise 0.
local function tick_after(instant, period, phase)
  return (math.floor((instant - phase) / period) + 1) * period + phase
end
local function next_tick(period, phase) return tick_after(now, period, phase) end
local function tick_after_hold(ends, period, phase) return tick_after(ends - 1, period, phase) end -- or at its end

-- Whether a due time is a tick: with the phase, or without it, since turning the switch moves no due time.
local function is_tick(score, period, phase) return score % period == 0 or (score - phase) % period == 0 end

-- Whether a due time fits no tick of the period. Up to `slack` ms ahead it fits: a clock step must not move it.
local function is_misaligned(score, period, phase, slack)
  return score > now + slack and (not is_tick(score, period, phase) or score > now + period + slack)
end

-- Whether a due time was postponed after a failed attempt: it ends in .5, which no tick does.
local function is_postponed(score) return score % 1 ~= 0 end

-- What differs between the row of a monitor and the schedule: compare lists it, and place acts on it. All rules about
-- that are here, so that `reconcile --dry-run` and sync cannot disagree.
-- `period` in ms, 0 or less for a row that does not run; `phase` in ms; `due` and `lease` are its scores, or false;
-- `held`: when its hold ends, or nil.
local ADD, MOVE, HOLD, REMOVE, LEASED, POSTPONED, AGREES = 'add', 'move', 'hold', 'remove', 'leased', 'postponed', 'agrees'
local function difference(period, phase, due, lease, slack, longest_delay, held)
  if period <= 0 then return (due or lease) and REMOVE or AGREES end
  if lease then return LEASED end -- its claim reschedules it, perhaps by an older row
  if not due then return ADD end
  if held then return due < held and HOLD or AGREES end -- a peer without holds moved it
  if is_postponed(due) and due <= now + longest_delay + slack then return POSTPONED end
  return is_misaligned(due, period, phase, slack) and MOVE or AGREES
end

-- Holds may end 60 s later than a person may ask for: Redis TIME may have stepped back. A later end is ignored.
local MAX_HOLD_MS, MAX_HOLD_ALL_MS = (7 * 24 * 3600 + 60) * 1000, (3600 + 60) * 1000
local ALL = '*' -- the hold on all monitors, in place of an id

-- When the hold ends that is stored as `value`, in ms; nil if it is none, or has ended.
local function hold_end(value, longest)
  local ends = value and tonumber(string.match(value, '"until_ms"%s*:%s*(%d+)'))
  return ends and ends > now and ends <= now + longest and ends or nil
end

-- When the hold on all monitors ends, in ms, or nil. A key that cannot be read holds nothing.
local function hold_on_all(held)
  local value = redis.pcall('HGET', held, ALL)
  return type(value) == 'string' and hold_end(value, MAX_HOLD_ALL_MS) or nil
end

-- By id, when its hold ends, in ms.
local function holds_on(held, ids)
  if redis.call('EXISTS', held) == 0 then return {} end
  local values, ends = redis.pcall('HMGET', held, unpack(ids)), {}
  if values.err then return ends end
  for n, id in ipairs(ids) do ends[id] = hold_end(values[n], MAX_HOLD_MS) end
  return ends
end

local MAX_EVENTS = 1000 -- in the stream, about

-- Adds events to the stream; returns why Redis refuses one, or ''. They are for information: no refusal is a problem.
local function add_events(stream, events)
  for _, event in ipairs(events) do
    local added = redis.pcall('XADD', stream, 'MAXLEN', '~', MAX_EVENTS, '*', 'event', event)
    if type(added) == 'table' and added.err then return added.err end
  end
  return ''
end

-- A JSON object with one more number.
local function with_number(object, name, number)
  return '{"' .. name .. '":' .. exact(number) .. ',' .. string.sub(object, 2)
end

-- The reply of a command, or `default` if there is none; a key that cannot be read is added to `problems`.
local problems = {}
local function read(default, command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) == 'table' and reply.err then
    problems[#problems + 1] = key .. ': ' .. reply.err
    return default
  end
  return reply or default
end

