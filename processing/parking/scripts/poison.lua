-- Parks a key, with its poisoned event as an entry. A repeat keeps the first document, and parks
-- nothing after a replay has handled the event. A deferred key is parked from now on.
--
-- KEYS     see layout.lua
-- ARGV     see writer.lua
-- ARGV[8]  position
-- ARGV[9]  kind and document
-- Returns "written" and the kind and document in the list, or "replayed", or why nothing was written:
-- "taken", "unmarked" or "large".
-- include layout
-- include count
-- include writer
local position, document = ARGV[8], ARGV[9]
local refused = refusal()
if refused then
  return {refused}
end
local known = redis.call('HGET', documents, position)
if known and known:sub(1, 1) ~= 'E' then
  count_write()
  return {'written', known}
end
if is_reached(position, redis.call('HGET', replayed_positions, label) or '') then
  return {'replayed'}
end
local events, size = totals()
refused = overflow(events, size, document, false)
if refused then
  return {refused}
end
redis.call('HSETNX', keys, label, digits(now_us()))
local added = redis.call('ZADD', entries, 0, position)
redis.call('HSET', documents, position, document)
add_totals(added, #document - (known and #known or 1))
end_deferral(label)
count_write()
return {'written', document}
