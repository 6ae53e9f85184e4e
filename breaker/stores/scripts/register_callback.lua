-- Register a callback for the approval of a generation.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash: "<generation> <url>" -> "<due, microseconds> <failed attempts>"
-- ARGV[4] generation   ARGV[5] url   ARGV[6] limit, callbacks   ARGV[7] lifetime, milliseconds
-- Returns 1, or 0 if the limit is reached

-- include common
-- include moves

local field = ARGV[4] .. ' ' .. ARGV[5]
if redis.call('HEXISTS', KEYS[10], field) == 0
  and redis.call('HLEN', KEYS[10]) >= tonumber(ARGV[6]) then
  return 0
end
redis.call('HSETNX', KEYS[10], field, '0 0')
redis.call('PEXPIRE', KEYS[10], ARGV[7])
return 1
