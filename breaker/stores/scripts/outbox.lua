-- Return the number of undelivered alerts and the age of the oldest.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- Returns {number of entries, age of the oldest entry in microseconds or ''}

-- include common
-- include moves

local oldest = redis.call('XRANGE', KEYS[7], '-', '+', 'COUNT', 1)[1]
if not oldest then
  return { '0', '' }
end
local age = ''
for i = 1, #oldest[2], 2 do
  if oldest[2][i] == 'at_us' then
    age = integer_text(math.max(0, now - tonumber(oldest[2][i + 1])))
  end
end
return { integer_text(redis.call('XLEN', KEYS[7])), age }
