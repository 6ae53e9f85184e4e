-- Stores the latest step back of the broker's clock.
--
-- KEYS[1]  hash: clock_step, "<seen, milliseconds since 1970> <size, milliseconds> <sequence number>"
-- ARGV[1]  seconds until an idle partition's progress expires
-- ARGV[2]  the size of the step, milliseconds
-- ARGV[3]  the number of the first event behind the step
-- Returns 1.
local time = redis.call('TIME')
local seen = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'clock_step', seen .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
