-- Replaces an entry by a poisoned entry if the caller holds the key's replay lease. A deferred key is
-- parked from now on; but while the message may not be in the poison queue yet (kind U), the key stays
-- deferred, and its next replay is due, because only a replay announces the event.
--
-- KEYS     see layout.lua
-- ARGV[1]  the caller's token of the lease
-- ARGV[2]  the key's label
-- ARGV[3]  position
-- ARGV[4]  kind and document
-- Returns "written", or "expired" if the caller does not hold the lease.
-- include layout
local label, position, document = ARGV[2], ARGV[3], ARGV[4]
if redis.call('GET', lease) ~= ARGV[1] then
  return {'expired'}
end
if redis.call('HEXISTS', documents, position) == 1 then
  local size = redis.call('HSTRLEN', documents, position)
  redis.call('HDEL', documents, position)  -- a full Redis permits a write once memory is freed
  redis.call('HSET', documents, position, document)
  add_totals(0, #document - size)
  if document:sub(1, 1) ~= 'U' then
    end_deferral(label)
  elseif redis.call('HEXISTS', deferred, label) == 1 then
    redis.call('ZADD', due, digits(now_us()), label)
  end
end
count_write()
return {'written'}
