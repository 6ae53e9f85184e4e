-- Returns the numbers of a partition's lists.
--
-- KEYS[1]  hash of keys with a list
-- KEYS[2]  hash: events and size of all lists, token of the mark
-- KEYS[3]  sorted set: label by the time of the deferral, microseconds since 1970
-- Returns the number of keys, of deferred keys, of events, of bytes, the earliest deferral with its
-- time (empty: none), and the token or "".
-- include count
local found = redis.call('HMGET', KEYS[2], 'events', 'size', 'token')
local events, size = found[1], found[2]
if not events then
  events, size = count(KEYS[1])  -- the lists of an older version, which the partition's owner counts
end
return {
  redis.call('HLEN', KEYS[1]),
  redis.call('ZCARD', KEYS[3]),
  events,
  size,
  redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES'),
  found[3] or '',
}
