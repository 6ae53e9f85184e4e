-- Acquire a lease, or renew a lease of this token.
--
-- KEYS[1] lease  ARGV[1] token  ARGV[2] milliseconds
-- Returns 1 if this token now holds the lease, else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])  -- a full Redis permits a script to write once it has deleted
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
