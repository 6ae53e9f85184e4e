-- Stores a key's deferral after a failed replay. A key that is not deferred stays as it is.
--
-- KEYS     see layout.lua
-- ARGV[1]  the caller's token of the lease
-- ARGV[2]  the key's label
-- ARGV[3]  JSON of the deferral
-- ARGV[4]  pause until the next replay, microseconds
-- ARGV[5…] see woken.lua
-- Returns "written", or "expired" if the caller does not hold the lease.
-- include layout
-- include woken
local label = ARGV[2]
if redis.call('GET', lease) ~= ARGV[1] then
  return {'expired'}
end
if redis.call('HEXISTS', deferred, label) == 1 then
  local now = now_us()
  redis.call('ZREM', due, label)  -- a full Redis permits a write once memory is freed
  redis.call('HSET', deferred, label, digits(now) .. ' ' .. ARGV[3])
  redis.call('ZADD', due, digits(now + shortened(tonumber(ARGV[4]), 5)), label)
end
count_write()
return {'written'}
