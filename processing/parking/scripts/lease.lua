-- Acquires ("take"), renews or releases ("give back") a key's replay lease.
--
-- KEYS[1]  string: the token of the lease's holder
-- KEYS[2]  string: the lowest version of the data's format that may process this partition
-- ARGV[1]  "take", "renew" or "give back"
-- ARGV[2]  the caller's token
-- ARGV[3]  duration of the lease, milliseconds
-- ARGV[4]  the version of the data's format that the caller reads and writes
-- Returns the version in KEYS[2] if the caller's version is too low, 1 if done, 0 if another token holds the lease or the lease has expired.
local holder = redis.call('GET', KEYS[1])
if ARGV[1] == 'take' then
  local lowest = tonumber(redis.call('GET', KEYS[2]) or '0')
  if lowest > tonumber(ARGV[4]) then
    return lowest
  end
  if holder and holder ~= ARGV[2] then
    return 0
  end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
if holder ~= ARGV[2] then
  return 0
end
if ARGV[1] == 'renew' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
