-- Returns the time, and the processes whose last heartbeat lies between two times.
--
-- KEYS[1]  sorted set: process by its last heartbeat, microseconds since 1970
-- KEYS[2]  sorted set: process by the time at which it was found dead, in the same unit
-- ARGV[1]  the first time
-- ARGV[2]  the last time
-- ARGV[3]  a process that was found dead before this time is left out
local time = redis.call('TIME')
local found = {string.format('%.0f', time[1] * 1000000 + time[2])}
for _, process in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[2])) do
  local dead = redis.call('ZSCORE', KEYS[2], process)
  if not dead or tonumber(dead) >= tonumber(ARGV[3]) then
    found[#found + 1] = process
  end
end
return found
