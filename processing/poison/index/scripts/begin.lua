-- Begins a comparison and returns its generation, or "" if another one is running.
--
-- KEYS     hash entries: value by name; sorted sets order, keys, ids: see `value.lua`; hash causes:
--          number of entries; hash state: see `state.lua`
-- ARGV[1]  seconds after which the comparison counts as abandoned
-- include value
-- include known
local state = known()
if state.compares then
  return ''
end
if state.broken then
  redis.call('UNLINK', unpack(KEYS))  -- what is left cannot be found by all its names
end
local time = redis.call('TIME')
local generation = time[1] .. string.format('%06d', time[2])
redis.call('HSET', KEYS[6], 'generation', generation, 'began', string.format('%.6f', now()),
  'until', string.format('%.6f', now() + ARGV[1]), 'seen', 0)
return generation
