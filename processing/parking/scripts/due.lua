-- Returns the keys whose next replay is due.
--
-- KEYS[1]  hash: generation, the circuit's generation at which all keys became due
-- KEYS[2]  sorted set: label by the time of the next replay, microseconds since 1970
-- ARGV[1]  the most keys to return
-- ARGV[2]  the circuit's generation while the circuit is closed, else 0
-- Returns labels, those due first first.
if tonumber(ARGV[2]) > tonumber(redis.call('HGET', KEYS[1], 'generation') or '0') then
  redis.call('HDEL', KEYS[1], 'generation')  -- a full Redis permits a write once memory is freed
  redis.call('HSET', KEYS[1], 'generation', ARGV[2])
  redis.call('ZUNIONSTORE', KEYS[2], 1, KEYS[2], 'WEIGHTS', 0)
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
return redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])
