-- Release the lease on the outbox, if the token still holds it.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] claim     string: "<microseconds at which the lease expires> <token>"
-- ARGV[4] token
-- Returns the number of released leases

-- include common
-- include moves

local claim = redis.call('GET', KEYS[10])
if claim and string.match(claim, '^%d+ (.*)$') == ARGV[4] then
  return redis.call('DEL', KEYS[10])
end
return 0
