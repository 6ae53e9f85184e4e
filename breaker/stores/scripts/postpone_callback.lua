-- Count a failed attempt; the callback is due again after the delay.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash, see callbacks.lua
-- ARGV[4] generation   ARGV[5] url   ARGV[6] delay, microseconds   ARGV[7] failed attempts
-- Returns 1, or 0 if the callback is not registered

-- include common
-- include moves
-- include callbacks

for _, callback in ipairs(callbacks()) do
  if callback.field == ARGV[4] .. ' ' .. ARGV[5] then
    callback.due, callback.attempts = integer_text(now + tonumber(ARGV[6])), ARGV[7]
    set_callback(callback)
    return 1
  end
end
return 0
