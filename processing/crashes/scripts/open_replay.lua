-- Records that a process replays a deferred key, and returns the other processes with such a record.
--
-- KEYS[1]  sorted set: process by the time at which its replay began, microseconds since 1970
-- ARGV[1]  the process
-- ARGV[2]  seconds until the records expire
-- ARGV[3]  the most records to keep
redis.call('EXPIRE', KEYS[1], ARGV[2])  -- a full Redis permits a script to write after a first write
redis.call('ZREM', KEYS[1], ARGV[1])
local others = redis.call('ZRANGE', KEYS[1], 0, -1)
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], string.format('%.0f', time[1] * 1000000 + time[2]), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return others
