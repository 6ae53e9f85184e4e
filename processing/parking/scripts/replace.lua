-- Replaces an entry's document if the caller holds the key's replay lease.
--
-- KEYS[1]  string: the token of the lease's holder
-- KEYS[2]  hash: position -> kind and document
-- ARGV[1]  the caller's token
-- ARGV[2]  position
-- ARGV[3]  kind and document
-- Returns 1 if done, 0 if the caller does not hold the lease.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
end
return 1
