-- Return the current state, without expired failures.
-- KEYS[1..9], ARGV[1..3] see common.lua

-- include common
-- include moves

return reply('done')
