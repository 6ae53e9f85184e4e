-- Stores the time at which the partition's hub was created, unless a time is stored.
--
-- KEYS[1]  hash: hub_created_ms, milliseconds since 1970
-- ARGV[1]  seconds until an idle partition's progress expires
-- ARGV[2]  the hub's time of creation, milliseconds since 1970
-- Returns 1 if the time was stored, else 0.
local stored = redis.call('HSETNX', KEYS[1], 'hub_created_ms', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return stored
