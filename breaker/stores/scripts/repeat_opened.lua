-- Add the opened alert of the current generation to the outbox again, if nobody asked.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash, see callbacks.lua
-- KEYS[11] chain      hash, see note_step.lua
-- ARGV[4] pause before the first repeat, microseconds   ARGV[5] longest pause, microseconds
-- ARGV[6] lifetime, milliseconds
-- Returns 1 if the alert was added, else 0

-- include common
-- include moves
-- include callbacks

if circuit.state ~= 'open' or redis.call('XLEN', KEYS[7]) > 0 then
  return 0
end
local current = integer_text(circuit.generation)
for _, callback in ipairs(callbacks()) do
  if callback.generation == current and is_fresh(callback) then
    return 0
  end
end
local opened = tonumber(circuit.opened_at_us)
local repeated = redis.call('HMGET', KEYS[11], 'repeated')[1] or ''
local generation, number, at = string.match(repeated, '^(%d+) (%d+) (%d+)$')
if generation ~= current then
  number, at = 0, opened
end
local pause = math.max(tonumber(ARGV[4]), math.min(tonumber(at) - opened, tonumber(ARGV[5])))
if now < tonumber(at) + pause then
  return 0
end
redis.call('HSET', KEYS[11], 'repeated', current .. ' ' .. integer_text(tonumber(number) + 1)
  .. ' ' .. now_us)
redis.call('PEXPIRE', KEYS[11], ARGV[6])
note_at('alert_repeated', current, '', now_us, '')
after_us = integer_text(opened - window_us)  -- the failures before the opening, not the latest
mover().add_alert('opened', circuit)
return 1
