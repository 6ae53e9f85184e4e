-- The state now; expired failures are not counted.
-- KEYS[1..9], ARGV[1..3] see common.lua

-- include common
-- include moves

return reply('done')
