-- Deletes replayed positions after a position, so that a rewind processes those events again.
--
-- KEYS[1]  hash: label -> position up to which the key was replayed
-- KEYS[2]  sorted set: label by the enqueued time of that position, milliseconds since 1970
-- ARGV[1]  position
-- Returns 1.
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  if found[i + 1] > ARGV[1] then
    redis.call('HDEL', KEYS[1], found[i])
    redis.call('ZREM', KEYS[2], found[i])
  end
end
return 1
