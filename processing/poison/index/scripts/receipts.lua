-- Replaces the receipts of entries.
--
-- KEYS[1]  hash entries: value by name, see `value.lua`
-- ARGV[1]  a comparison: only the entries whose messages it holds are changed; or "": all
-- ARGV[2]  and the following: for each entry its name and its receipt; unknown names are ignored
-- include value
for index = 2, #ARGV, 2 do
  local value = redis.call('HGET', KEYS[1], ARGV[index])
  local entry = value and unpacked(value)
  if entry and (ARGV[1] == '' or entry.holder == ARGV[1]) then
    entry.holder = ''
    entry.receipt = ARGV[index + 1]
    redis.call('HDEL', KEYS[1], ARGV[index])  -- a full Redis permits a write once memory is freed
    redis.call('HSET', KEYS[1], ARGV[index], packed(entry))
  end
end
return 1
