-- Return the current state, without expired failures; judge the standstill rule.
-- KEYS[1..9], ARGV[1..3] see common.lua; KEYS[10..11] see standstill.lua

-- include common
-- include moves
-- include standstill

judge_standstill()
return reply('done')
