-- Isolate the circuit in a new generation that only closing by hand ends.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] name of the operator, text   ARGV[5] reason, text
-- Outcome: done | already

-- include common
-- include moves

if circuit.state == 'isolated' then
  return reply('already')
end
mover().move({
  state = 'isolated', generation = circuit.generation + 1, opened_at_us = now_us,
  changed_at_us = now_us, resume_at_us = '0', break_us = '0', reason = ARGV[5], by = ARGV[4],
}, 'isolated', 'isolated')
return reply('done')
