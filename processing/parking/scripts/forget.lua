-- Deletes replayed positions after a position, so that a rewind processes those events again.
--
-- KEYS[1]  hash: label -> position up to which a redrive has replayed the key
-- ARGV[1]  position
-- Returns 1.
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  if found[i + 1] > ARGV[1] then
    redis.call('HDEL', KEYS[1], found[i])
  end
end
return 1
