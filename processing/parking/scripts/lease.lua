-- Takes a key's replay lease, holds it longer, or gives it back.
--
-- KEYS[1]  string: the token of the lease's holder
-- ARGV[1]  "take", "renew" or "give back"
-- ARGV[2]  the caller's token
-- ARGV[3]  how long, milliseconds
-- Returns 1 if done, 0 if the lease is not the caller's.
local holder = redis.call('GET', KEYS[1])
if ARGV[1] == 'take' then
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
