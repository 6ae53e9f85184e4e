-- Records that the message of a poisoned entry is in the poison queue. A deferred key is parked from now
-- on.
--
-- KEYS     see layout.lua
-- ARGV[1]  the key's label
-- ARGV[2]  position
-- Returns 1.
-- include layout
local label, position = ARGV[1], ARGV[2]
local known = redis.call('HGET', documents, position)
if known and known:sub(1, 1) == 'U' then
  redis.call('HDEL', documents, position)  -- a full Redis permits a write once memory is freed
  redis.call('HSET', documents, position, 'P' .. known:sub(2))
  end_deferral(label)
end
return 1
