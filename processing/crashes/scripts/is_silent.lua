-- Returns 1 if a process has recorded no heartbeat for a time, else 0.
--
-- KEYS[1]  sorted set: process by its last heartbeat, microseconds since 1970
-- ARGV[1]  the process
-- ARGV[2]  the time, in microseconds
local last = redis.call('ZSCORE', KEYS[1], ARGV[1])
local time = redis.call('TIME')
if last and time[1] * 1000000 + time[2] - last < tonumber(ARGV[2]) then
  return 0
end
return 1
