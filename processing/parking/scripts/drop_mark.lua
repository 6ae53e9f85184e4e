-- Removes the mark's token if it is the given one and the partition has no list.
--
-- KEYS[1]  hash of keys with a list
-- KEYS[2]  hash: token of the mark
-- ARGV[1]  the token
-- Returns 1 if the partition has no token now, else 0.
if redis.call('HGET', KEYS[2], 'token') == ARGV[1] and redis.call('HLEN', KEYS[1]) == 0 then
  redis.call('HDEL', KEYS[2], 'token')
end
return 1 - redis.call('HEXISTS', KEYS[2], 'token')
