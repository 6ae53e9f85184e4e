-- Parks a key, with its poisoned event as an entry. A repeat keeps the first document, and parks
-- nothing after a redrive has replayed the event.
--
-- KEYS[1]  string: the latest claim
-- KEYS[2]  hash of parked keys: label -> when it was parked, microseconds since 1970
-- KEYS[3]  sorted set of the key's entries: member position, score 0
-- KEYS[4]  hash: position -> kind and document
-- KEYS[5]  hash: label -> position up to which a redrive has replayed the key
-- ARGV[1]  the caller's claim
-- ARGV[2]  the key's label
-- ARGV[3]  position
-- ARGV[4]  kind and document
-- Returns the kind and document in the list, "" if the event was replayed before, or false if
-- another claim is the latest.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return false
end
local known = redis.call('HGET', KEYS[4], ARGV[3])
if known and known:sub(1, 1) ~= 'E' then
  return known
end
local replayed = redis.call('HGET', KEYS[5], ARGV[2]) or ''
if ARGV[3] <= replayed and ARGV[3]:sub(17) <= replayed:sub(17) then
  return ''
end
local time = redis.call('TIME')
redis.call('HSETNX', KEYS[2], ARGV[2], time[1] .. string.format('%06d', time[2]))
redis.call('ZADD', KEYS[3], 0, ARGV[3])
redis.call('HSET', KEYS[4], ARGV[3], ARGV[4])
return ARGV[4]
