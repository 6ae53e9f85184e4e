-- Remove a callback that was called, or whose receiver is gone.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash, see callbacks.lua
-- ARGV[4] generation   ARGV[5] url
-- Returns the number of removed callbacks

-- include common
-- include moves

return redis.call('HDEL', KEYS[10], ARGV[4] .. ' ' .. ARGV[5])
