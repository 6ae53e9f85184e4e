-- Isolate the circuit in a new generation, until its end or, without an end, until closed by hand.
-- An isolated circuit gets the new end, also in a new generation: an instance that knows only the
-- old end must not restore it.
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
  state = 'isolated', generation = circuit.generation + 1, opened_at_us = now_us,
  changed_at_us = now_us,
  resume_at_us = length > 0 and integer_text(now + length) or '0', break_us = '0',
  reason = ARGV[5], by = ARGV[4], ends_as = again and circuit.ends_as or ends_as,
  stops_app = stops_app(),
}, 'isolated', 'isolated')
return reply('done')
