-- Count one more; the count starts anew so many seconds after its first.
--
-- KEYS[1] counter  ARGV[1] seconds
-- Returns the count.
local count = redis.call('INCR', KEYS[1])
if count == 1 then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return count
