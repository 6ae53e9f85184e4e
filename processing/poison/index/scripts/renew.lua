-- Renews a comparison; returns 0 if it has ended, if another one has begun, or if the index was lost.
--
-- KEYS     hash entries: value by name; sorted sets order, keys, ids: see `value.lua`; hash causes:
--          number of entries; hash state: see `state.lua`
-- ARGV[1]  the comparison's generation
-- ARGV[2]  seconds after which it counts as abandoned; 0: at once
-- include value
local found = redis.call('HMGET', KEYS[6], 'generation', 'until')
if found[1] ~= ARGV[1] or not found[2] then
  return 0
end
redis.call('HDEL', KEYS[6], 'until')  -- a full Redis permits a write once memory is freed
if ARGV[2] ~= '0' then
  redis.call('HSET', KEYS[6], 'until', string.format('%.6f', now() + ARGV[2]))
end
return 1
