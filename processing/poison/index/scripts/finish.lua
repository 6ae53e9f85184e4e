-- Ends a comparison; returns 0 if another one has begun, or if the index was lost.
--
-- KEYS     hash entries: value by name; sorted sets order, keys, ids: see `value.lua`; hash causes:
--          number of entries; hash state: see `state.lua`
-- ARGV[1]  the comparison's generation
-- ARGV[2]  JSON of the numbers of messages of others by their names
-- ARGV[3]  the sum of these numbers
-- ARGV[4]  number of unreadable messages
-- ARGV[5]  number of messages that somebody else held
-- ARGV[6]  seconds until an index expires that nobody changes
-- include value
if redis.call('HGET', KEYS[6], 'generation') ~= ARGV[1] then
  return 0
end
local took = now() - (redis.call('HGET', KEYS[6], 'began') or now())
redis.call('HDEL', KEYS[6], 'until', 'differs')  -- a full Redis permits a write once memory is freed
redis.call('HSET', KEYS[6], 'built', string.format('%.6f', now()), 'others', ARGV[2],
  'took', string.format('%.6f', took), 'of_others', ARGV[3],
  'unreadable', ARGV[4], 'held', ARGV[5])
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ARGV[6])
end
return 1
