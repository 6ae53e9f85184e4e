-- Adds or replaces entries, and returns how many were not put since the latest comparison began, and
-- how many were refused.
--
-- KEYS     hash entries: value by name; sorted sets order, keys, ids: see `value.lua`; hash causes:
--          number of entries; hash state: see `state.lua`
-- ARGV[1]  greatest size of all compressed entries, in bytes
-- ARGV[2]  1: entries that are not in the index may be added
-- ARGV[3]  seconds until an index expires that nobody changes
-- ARGV[4]  the comparison that holds the messages, or ""
-- ARGV[5]  and the following: for each entry its name, its receipt, its members of order, keys and
--          ids, its cause, the whole compressed entry or "", and the entry without long texts
-- include value
local generation = redis.call('HGET', KEYS[6], 'generation') or ''
local bytes = tonumber(redis.call('HGET', KEYS[6], 'bytes') or 0)
local new, refused = 0, 0
for index = 5, #ARGV, 8 do
  local name, whole, short = ARGV[index], ARGV[index + 6], ARGV[index + 7]
  local value = redis.call('HGET', KEYS[1], name)
  local old = value and unpacked(value)
  if not old and ARGV[2] ~= '1' then
    refused = refused + 1
  else
    local entry = {generation = generation, holder = ARGV[4], receipt = ARGV[index + 1],
      order = ARGV[index + 2], key = ARGV[index + 3], id = ARGV[index + 4], cause = ARGV[index + 5]}
    bytes = bytes - (old and #old.data or 0)
    local fits = #whole > 0 and bytes + #whole <= tonumber(ARGV[1])
    entry.data = fits and whole or short
    bytes = bytes + #entry.data
    -- The first write needs memory, so a full Redis refuses the script before it has changed anything.
    redis.call('HSET', KEYS[1], name, packed(entry))
    if old then
      if old.order ~= entry.order then redis.call('ZREM', KEYS[2], old.order) end
      if old.key ~= entry.key then redis.call('ZREM', KEYS[3], old.key) end
      if old.id ~= entry.id then redis.call('ZREM', KEYS[4], old.id) end
      if redis.call('HINCRBY', KEYS[5], old.cause, -1) <= 0 then
        redis.call('HDEL', KEYS[5], old.cause)
      end
    end
    redis.call('ZADD', KEYS[2], 0, entry.order)
    redis.call('ZADD', KEYS[3], 0, entry.key)
    redis.call('ZADD', KEYS[4], 0, entry.id)
    redis.call('HINCRBY', KEYS[5], entry.cause, 1)
    if not old or old.generation ~= generation then
      new = new + 1
    end
  end
end
if refused * 8 < #ARGV - 4 then
  redis.call('HSET', KEYS[6], 'bytes', bytes)
  redis.call('HINCRBY', KEYS[6], 'seen', new)
  for _, key in ipairs(KEYS) do
    redis.call('EXPIRE', key, ARGV[3])
  end
end
return {new, refused}
