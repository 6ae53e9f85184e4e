-- Makes the caller a partition's owner, and returns the partition's progress.
--
-- KEYS[1]  hash: sequence_number, enqueued_ms of the watermark; owner, the token of the latest
--          owner, microseconds since 1970 or more; since, the first token that may write (raised
--          when progress is dropped)
-- KEYS[2]  sorted set of finished events above the watermark: member "<sequence>:<enqueued ms>",
--          score sequence
-- KEYS[3]  string: the lowest version of the data's format that may process this partition
-- ARGV[1]  seconds until an idle partition's progress expires
-- ARGV[2]  "1" to drop the progress, "" to keep it
-- ARGV[3]  the version of the data's format that the caller reads and writes
-- ARGV[4]  the lowest version that reads what the caller writes
-- Returns "newer" and KEYS[3] if the caller's version is too low, or the caller's token, the watermark's sequence number and enqueued time (false for none),
-- and the finished members.
local lowest = tonumber(redis.call('GET', KEYS[3]) or '0')
if lowest > tonumber(ARGV[3]) then
  return {'newer', lowest}
end
if lowest < tonumber(ARGV[4]) then
  redis.call('SET', KEYS[3], ARGV[4])
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- Tokens come from the clock, so that a token from before a loss of data is older than later tokens.
local latest = tonumber(redis.call('HGET', KEYS[1], 'owner') or '0')
local owner = string.format('%.0f', math.max(now, latest + 1))
redis.call('HSET', KEYS[1], 'owner', owner)
if ARGV[2] == '1' then
  redis.call('HDEL', KEYS[1], 'sequence_number', 'enqueued_ms')
  redis.call('HSET', KEYS[1], 'since', owner)
  redis.call('DEL', KEYS[2])
end
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[1]))
redis.call('EXPIRE', KEYS[2], tonumber(ARGV[1]))  -- a batch may be held longer than the earlier expiry
local watermark = redis.call('HMGET', KEYS[1], 'sequence_number', 'enqueued_ms')
return {owner, watermark[1], watermark[2], redis.call('ZRANGE', KEYS[2], 0, -1)}
