-- Return the current state, without expired failures; judge the standstill rule.
-- KEYS[1..9], ARGV[1..3] see common.lua; KEYS[10..11] see standstill.lua

-- include common
-- include moves
-- include standstill
-- include refusal

local refused = refusal(KEYS[2])
if refused then
  return 'no_writes ' .. #refused .. ' ' .. refused .. ' ' .. reply('ignored')
end
judge_standstill()
return reply('done')
