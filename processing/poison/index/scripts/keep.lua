-- Keeps entries at the end of a comparison, unchanged. Names of removed entries are ignored.
--
-- KEYS     hash entries: value by name; sorted sets order, keys, ids: see `value.lua`; hash causes:
--          number of entries; hash state: see `state.lua`
-- ARGV[1]  the comparison's generation
-- ARGV[2]  and the following: the names
-- include value
if redis.call('HGET', KEYS[6], 'generation') ~= ARGV[1] then
  return 0
end
for index = 2, #ARGV do
  local value = redis.call('HGET', KEYS[1], ARGV[index])
  local entry = value and unpacked(value)
  if entry and entry.generation ~= ARGV[1] then
    entry.generation = ARGV[1]
    redis.call('HDEL', KEYS[1], ARGV[index])  -- a full Redis permits a write once memory is freed
    redis.call('HSET', KEYS[1], ARGV[index], packed(entry))
    redis.call('HINCRBY', KEYS[6], 'seen', 1)
  end
end
return 1
