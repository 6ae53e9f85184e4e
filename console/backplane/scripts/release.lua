-- Release a lease, if this token still holds the lease.
--
-- KEYS[1] lease  ARGV[1] token
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 0
