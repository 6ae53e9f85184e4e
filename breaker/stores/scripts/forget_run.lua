-- Remove the callbacks of a workflow run that waits no more.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash, see callbacks.lua
-- ARGV[4] name of the workflow run, text
-- Returns the number of removed callbacks

-- include common
-- include moves
-- include callbacks

local removed = 0
for _, callback in ipairs(callbacks()) do
  if callback.run == ARGV[4] then
    removed = removed + redis.call('HDEL', KEYS[10], callback.field)
  end
end
return removed
