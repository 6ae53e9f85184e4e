-- Return the registered instances of a circuit, the latest first.
-- KEYS[1] instances, KEYS[2] settings: see register.lua
-- ARGV[1] now, microseconds; empty: the server's TIME   ARGV[2], ARGV[3] are not used
-- Returns {now, {name, microseconds, settings, ...}}

local now_us = ARGV[1]
if now_us == '' then
  local time = redis.call('TIME')
  now_us = time[1] .. string.format('%06d', time[2])
end
local seen = redis.call('ZRANGE', KEYS[1], 0, -1, 'REV', 'WITHSCORES')
local found = {}
for index = 1, #seen, 2 do
  local text = redis.call('HMGET', KEYS[2], seen[index])[1]
  found[#found + 1] = seen[index]
  found[#found + 1] = seen[index + 1]
  found[#found + 1] = text or ''
end
return { now_us, found }
