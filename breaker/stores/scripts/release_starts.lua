-- Make the callbacks that wait for a start due.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash, see callbacks.lua
-- Returns the number of released callbacks

-- include common
-- include moves
-- include callbacks

local released = 0
for _, callback in ipairs(callbacks()) do
  if callback.waits_for == 'start' then
    callback.waits_for, callback.due = 'approval', '0'
    set_callback(callback)
    released = released + 1
  end
end
return released
