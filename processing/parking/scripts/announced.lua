-- Records that the message of a poisoned entry is in the poison queue.
--
-- KEYS[1]  hash: position -> kind and document
-- ARGV[1]  position
-- Returns 1.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and known:sub(1, 1) == 'U' then
  redis.call('HDEL', KEYS[1], ARGV[1])  -- a full Redis permits a write once memory is freed
  redis.call('HSET', KEYS[1], ARGV[1], 'P' .. known:sub(2))
end
return 1
