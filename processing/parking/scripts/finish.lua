-- Removes a replayed entry, and releases its key with the last entry. One script does both, so that
-- no event is appended between the removal of the last entry and the release.
--
-- KEYS[1]  string: the token of the lease's holder
-- KEYS[2]  hash of parked keys: label -> when it was parked, microseconds since 1970
-- KEYS[3]  sorted set of the key's entries: member position, score 0
-- KEYS[4]  hash: position -> kind and document
-- KEYS[5]  hash: label -> position up to which a redrive has replayed the key
-- KEYS[6]  sorted set of replayed poisonings: member verdict, score microseconds since 1970
-- ARGV[1]  the caller's token
-- ARGV[2]  the key's label
-- ARGV[3]  position
-- ARGV[4]  the poisoned event's verdict, or ""
-- ARGV[5]  seconds until replayed positions and verdicts expire
-- Returns the number of entries that are left (0: released), or -1 if the caller does not hold the
-- lease.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
redis.call('ZREM', KEYS[3], ARGV[3])
redis.call('HDEL', KEYS[4], ARGV[3])
local replayed = redis.call('HGET', KEYS[5], ARGV[2])
if not replayed or replayed < ARGV[3] then
  redis.call('HSET', KEYS[5], ARGV[2], ARGV[3])
end
redis.call('EXPIRE', KEYS[5], ARGV[5])
if ARGV[4] ~= '' then
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  redis.call('ZADD', KEYS[6], now, ARGV[4])
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now - ARGV[5] * 1000000)
  redis.call('EXPIRE', KEYS[6], ARGV[5])
end
local left = redis.call('ZCARD', KEYS[3])
if left == 0 then
  redis.call('HDEL', KEYS[2], ARGV[2])
end
return left
