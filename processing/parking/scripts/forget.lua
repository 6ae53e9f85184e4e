-- Deletes replayed positions after a position, so that a rewind processes those events again.
--
-- KEYS[1]  hash: label -> replayed positions of the key, "<last>|<first>" or "<last>"
-- KEYS[2]  sorted set: label by the enqueued time of the last position, milliseconds since 1970
-- ARGV[1]  position
-- Returns 1.
-- include range
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  if last_of(found[i + 1]) > ARGV[1] then
    redis.call('HDEL', KEYS[1], found[i])
    redis.call('ZREM', KEYS[2], found[i])
  end
end
return 1
