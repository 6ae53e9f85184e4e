-- Acquires or renews the turn to survey the partitions.
--
-- KEYS[1]  string: the instance whose turn it is
-- ARGV[1]  the instance
-- ARGV[2]  milliseconds until the turn expires
-- Returns 1 if it is the instance's turn, else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
