-- Adds finished events of a partition and raises its watermark. Repeat-safe and commutative: two
-- owners that overlap for a moment cannot lower the watermark or lose each other's events.
--
-- KEYS[1]  hash: sequence_number, enqueued_ms of the watermark
-- KEYS[2]  sorted set of finished events above it: member "<sequence>:<enqueued ms>", score sequence
-- ARGV[1]  seconds until an idle partition is forgotten
-- ARGV[2]  watermark's sequence number, or "" for none
-- ARGV[3]  watermark's enqueued time, milliseconds since 1970, or ""
-- ARGV[4…] sequence number, enqueued milliseconds of each finished event
-- Returns 1.
local ttl = tonumber(ARGV[1])
for first = 4, #ARGV, 1000 do
  local added = {}
  for i = first, math.min(first + 999, #ARGV - 1), 2 do
    added[#added + 1] = ARGV[i]
    added[#added + 1] = ARGV[i] .. ':' .. ARGV[i + 1]
  end
  redis.call('ZADD', KEYS[2], unpack(added))
end
local known = tonumber(redis.call('HGET', KEYS[1], 'sequence_number') or '-1')
local proposed = tonumber(ARGV[2])
if proposed and proposed > known then
  redis.call('HSET', KEYS[1], 'sequence_number', ARGV[2], 'enqueued_ms', ARGV[3])
  known = proposed
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', known)
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('EXPIRE', KEYS[2], ttl)
return 1
