-- Records a heartbeat of a process, which ends the record that the process was found dead.
--
-- KEYS[1]  sorted set: process by its last heartbeat, microseconds since 1970
-- KEYS[2]  sorted set: process by the time at which it was found dead
-- ARGV[1]  the process
-- ARGV[2]  seconds after which a silent process is forgotten
-- ARGV[3]  the most processes to keep
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local oldest = string.format('%.0f', now - ARGV[2] * 1000000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', oldest)  -- on a full Redis a first write must remove
local last = string.format('%.0f', now)
for _, process in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. last, '+inf')) do
  redis.call('ZADD', KEYS[1], last, process)  -- the clock was set back
end
redis.call('ZADD', KEYS[1], last, ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
