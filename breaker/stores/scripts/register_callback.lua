-- Register a callback for the decision on a generation.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash, see callbacks.lua
-- ARGV[4] generation   ARGV[5] url   ARGV[6] limit, callbacks   ARGV[7] lifetime, milliseconds
-- ARGV[8] approval | start   ARGV[9] name of the workflow run, text; empty: unknown
-- ARGV[10] caller, text for the history
-- Returns 1, or 0 if the limit is reached

-- include common
-- include moves
-- include callbacks

local field = ARGV[4] .. ' ' .. ARGV[5]
local first, count, known = true, 0, nil
for _, callback in ipairs(callbacks()) do
  first = first and callback.generation ~= ARGV[4]
  if callback.field == field then
    known = callback
  elseif ARGV[9] ~= '' and callback.run == ARGV[9] then
    redis.call('HDEL', KEYS[10], callback.field)  -- the run waits for the newer callback only
  else
    count = count + 1
  end
end
if not known and count >= tonumber(ARGV[6]) then
  return 0
end
local due, attempts = '0', '0'
if known then
  due, attempts = known.due, known.attempts
end
set_callback({ field = field, due = due, attempts = attempts, registered = now_us,
  waits_for = ARGV[8], run = ARGV[9] })
redis.call('PEXPIRE', KEYS[10], ARGV[7])
if first and ARGV[8] == 'approval' and tonumber(ARGV[4]) > passed() then
  note_at('approval_requested', ARGV[4], ARGV[10], now_us, '')
end
return 1
