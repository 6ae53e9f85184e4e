-- Set a generation from OPEN to HALF_OPEN.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] generation   ARGV[5] name of the operator, text
-- Outcome: done | already (the generation is half-open or closed) | isolated | stale

-- include common
-- include moves

local generation = tonumber(ARGV[4])
if generation ~= circuit.generation or generation == 0 then
  return reply('stale')
end
if circuit.state == 'isolated' then
  return reply('isolated')
end
if circuit.state ~= 'open' then
  return reply('already')
end
redis.call('DEL', KEYS[5], KEYS[6])  -- first, so that a full Redis takes the approval, see moves.lua
local circuit_mover = mover()
circuit_mover.note('approved', ARGV[5], '')
circuit_mover.half_open('approved by ' .. ARGV[5], ARGV[5])
return reply('done')
