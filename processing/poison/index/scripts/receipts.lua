-- Replaces the receipts of entries.
--
-- KEYS[1]  hash entries: value by name, see `value.lua`
-- ARGV     for each entry its name and its receipt; unknown names are ignored
-- include value
for index = 1, #ARGV, 2 do
  local value = redis.call('HGET', KEYS[1], ARGV[index])
  if value then
    local entry = unpacked(value)
    entry.receipt = ARGV[index + 1]
    redis.call('HDEL', KEYS[1], ARGV[index])  -- a full Redis permits a write once memory is freed
    redis.call('HSET', KEYS[1], ARGV[index], packed(entry))
  end
end
return 1
