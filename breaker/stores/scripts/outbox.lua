-- What waits in the outbox.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- Returns {entries, age of the oldest in microseconds or ''}

-- include common
-- include moves

local oldest = redis.call('XRANGE', KEYS[7], '-', '+', 'COUNT', 1)[1]
if not oldest then
  return { '0', '' }
end
local age = ''
for i = 1, #oldest[2], 2 do
  if oldest[2][i] == 'at_us' then
    age = whole(math.max(0, now - tonumber(oldest[2][i + 1])))
  end
end
return { whole(redis.call('XLEN', KEYS[7])), age }
