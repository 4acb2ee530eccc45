-- Prepended to every script: Redis TIME is the only clock.
-- now     number  ms since the Unix epoch
-- now_ns  string  the same instant in ns; a number would lose digits
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_ns = time[1] .. string.format('%06d', time[2]) .. '000'
