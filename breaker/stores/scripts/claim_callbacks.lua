-- Claim the due callbacks, each for a lease; remove those of runs that wait no more.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash, see callbacks.lua
-- ARGV[4] lease, microseconds
-- Returns {{generation, url, failed attempts}, ...}

-- include common
-- include moves
-- include callbacks

-- A run that waits for a start ends by itself only if the run of a newer opening decides.
local superseded = circuit.state == 'open' and circuit.generation - 1 or 0
local due = {}
for _, callback in ipairs(callbacks()) do
  local last = callback.waits_for == 'approval' and passed() or superseded
  if not is_fresh(callback) then
    redis.call('HDEL', KEYS[10], callback.field)
  elseif tonumber(callback.generation) <= last and tonumber(callback.due) <= now then
    callback.due = integer_text(now + tonumber(ARGV[4]))
    set_callback(callback)
    due[#due + 1] = { callback.generation, callback.url, callback.attempts }
  end
end
return due
