-- Defers a key, with its failing event as the first entry. A repeat changes nothing. If the key has a
-- list already, the event is appended to the list.
--
-- KEYS      see layout.lua
-- ARGV      see writer.lua
-- ARGV[8]   position
-- ARGV[9]   kind and document
-- ARGV[10]  JSON of the deferral
-- ARGV[11]  pause until the next replay, microseconds
-- ARGV[12…] see woken.lua
-- Returns "written", the state of the event (0: replayed before; 1: in the list; 2: in the list as
-- poisoned; 3: as 2, its message may not be in the poison queue) and the time of the key's deferral in
-- microseconds since 1970 (false: the key is not deferred), or why nothing was written: "taken",
-- "unmarked", "many" or "large".
-- include layout
-- include count
-- include writer
-- include woken
local position, document = ARGV[8], ARGV[9]
local refused = refusal()
if refused then
  return {refused}
end
local known = redis.call('HGET', documents, position)
if known then
  count_write()
  return {'written', state_of(known), redis.call('ZSCORE', deferred_since, label)}
end
if is_reached(position, redis.call('HGET', replayed_positions, label) or '') then
  return {'replayed', 0, false}
end
local events, size = totals()
refused = overflow(events, size, document, true)
if refused then
  return {refused}
end
local now = now_us()
if redis.call('HSETNX', keys, label, digits(now)) == 1 then
  redis.call('HSET', deferred, label, digits(now) .. ' ' .. ARGV[10])
  redis.call('ZADD', due, digits(now + shortened(tonumber(ARGV[11]), 12)), label)
  redis.call('ZADD', deferred_since, digits(now), label)
end
redis.call('ZADD', entries, 0, position)
redis.call('HSET', documents, position, document)
add_totals(1, #document - 1)
count_write()
return {'written', 1, redis.call('ZSCORE', deferred_since, label)}
