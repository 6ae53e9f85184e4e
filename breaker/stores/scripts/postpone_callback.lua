-- Count a failed attempt; the callback is due again after the delay.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash: "<generation> <url>" -> "<due, microseconds> <failed attempts>"
-- ARGV[4] generation   ARGV[5] url   ARGV[6] delay, microseconds   ARGV[7] failed attempts
-- Returns 1, or 0 if the callback is not registered

-- include common
-- include moves

local field = ARGV[4] .. ' ' .. ARGV[5]
if redis.call('HEXISTS', KEYS[10], field) == 0 then
  return 0
end
redis.call('HSET', KEYS[10], field, integer_text(now + tonumber(ARGV[6])) .. ' ' .. ARGV[7])
return 1
