-- Adds entries of a parked list that an older version of the app wrote. A repeat changes nothing, and
-- an entry that a redrive has replayed since is not added.
--
-- KEYS[1]  hash of parked keys: label -> when it was parked, microseconds since 1970
-- KEYS[2]  sorted set of the key's entries: member position, score 0
-- KEYS[3]  hash: position -> kind and document
-- KEYS[4]  hash: label -> replayed positions of the key, "<last>|<first>" or "<last>"
-- KEYS[5]  sorted set: label by the enqueued time of the last position, milliseconds since 1970
-- KEYS[6]  hash: events and size of all lists
-- ARGV[1]  the key's label
-- ARGV[2]  when the key was parked, microseconds since 1970, or ""
-- ARGV[3]  position up to which a redrive has replayed the key, or ""
-- ARGV[4]  seconds until replayed positions expire
-- ARGV[5…] position, kind and document of each entry
-- Returns the number of entries that were added.
local last, first = (redis.call('HGET', KEYS[4], ARGV[1]) or ''):match('^([^|]*)|?(.*)$')
if ARGV[3] ~= '' then
  last, first = ARGV[3] > last and ARGV[3] or last, ''  -- an older version noted no first position
  redis.call('HSET', KEYS[4], ARGV[1], last)
  redis.call('ZADD', KEYS[5], last:sub(1, 15), ARGV[1])
  redis.call('EXPIRE', KEYS[4], ARGV[4])
  redis.call('EXPIRE', KEYS[5], ARGV[4])
end
local added = 0
for i = 5, #ARGV - 1, 2 do
  local position = ARGV[i]
  local reached = first <= position and position <= last and position:sub(17) <= last:sub(17)
  if not reached and redis.call('HSETNX', KEYS[3], position, ARGV[i + 1]) == 1 then
    redis.call('ZADD', KEYS[2], 0, position)
    added = added + 1
  end
end
if ARGV[2] ~= '' and redis.call('ZCARD', KEYS[2]) > 0 then
  redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
end
if added > 0 then
  redis.call('HDEL', KEYS[6], 'events', 'size')  -- the next claim counts the entries
end
return added
