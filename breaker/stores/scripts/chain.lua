-- Return what is on record of the chain.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash, see callbacks.lua
-- KEYS[11] chain      hash, see note_step.lua
-- Returns {{{generation, run, approval | start, registered, failed attempts}, ...}, stop or '',
-- start or '', number of repeats, time of the latest repeat}

-- include common
-- include moves
-- include callbacks

local waiting = {}
for _, callback in ipairs(callbacks()) do
  if is_fresh(callback) then
    waiting[#waiting + 1] = { callback.generation, callback.run, callback.waits_for,
      callback.registered, callback.attempts }
  end
end
local stored = redis.call('HMGET', KEYS[11], 'stop', 'start', 'repeated')
local generation, repeats, at = string.match(stored[3] or '', '^(%d+) (%d+) (%d+)$')
if tonumber(generation) ~= circuit.generation then
  repeats, at = '0', '0'
end
return { waiting, stored[1] or '', stored[2] or '', repeats, at }
