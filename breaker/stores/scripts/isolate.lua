-- Isolate the circuit in a new generation, until its end or, without an end, until closed by hand.
-- An isolated circuit keeps its generation and gets the new end.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] name of the operator, text   ARGV[5] reason, text
-- ARGV[6] length of the isolation, microseconds; 0: no end
-- Outcome: done | already

-- include common
-- include moves

local length = tonumber(ARGV[6])
local again = circuit.state == 'isolated'
if again and length == 0 and circuit.resume_at_us == '0' then
  return reply('already')
end
local ends_as = circuit.state == 'closed' and 'closed' or 'open'
mover().move({
  state = 'isolated', generation = circuit.generation + (again and 0 or 1),
  opened_at_us = again and circuit.opened_at_us or now_us, changed_at_us = now_us,
  resume_at_us = length > 0 and integer_text(now + length) or '0', break_us = '0',
  reason = ARGV[5], by = ARGV[4], ends_as = again and circuit.ends_as or ends_as,
}, 'isolated', not again and 'isolated')
return reply('done')
