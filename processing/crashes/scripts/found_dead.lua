-- Records that processes were found dead; the first time counts.
--
-- KEYS[1]  sorted set: process by the time at which it was found dead, microseconds since 1970
-- ARGV[1]  seconds after which a process is forgotten
-- ARGV[2]  the most processes to keep
-- ARGV[3]  and the following: the processes
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local oldest = string.format('%.0f', now - ARGV[1] * 1000000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', oldest)  -- on a full Redis a first write must remove
for index = 3, #ARGV do
  redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', now), ARGV[index])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
