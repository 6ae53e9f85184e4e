-- Releases a key's replay lease if the caller still holds the lease.
--
-- KEYS[1]  string: the token of the lease's holder
-- ARGV[1]  the caller's token
-- Returns 1 if done, 0 if another token holds the lease or the lease has expired.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
