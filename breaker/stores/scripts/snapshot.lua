-- Return the current state, without expired failures; judge the standstill rule.
-- KEYS[1..9], ARGV[1..3] see common.lua; KEYS[10..11] see standstill.lua
-- KEYS[12] instances, KEYS[13] settings: see register.lua
-- ARGV[4] settings of the instance that polls; empty: it is no instance of the app

-- include common
-- include moves
-- include standstill
-- include refusal
-- include register

local refused = refusal(KEYS[2])
if refused then
  return 'no_writes ' .. #refused .. ' ' .. refused .. ' ' .. reply('ignored')
end
register(KEYS[12], KEYS[13], now_us, ARGV[3], ARGV[4])
judge_standstill()
return reply('done')
