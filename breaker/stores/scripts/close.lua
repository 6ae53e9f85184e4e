-- Close a generation by hand, from any state.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] generation   ARGV[5] name of the operator, text   ARGV[6] reason, text
-- Outcome: done | already | stale

-- include common
-- include moves

if tonumber(ARGV[4]) ~= circuit.generation then
  return reply('stale')
end
if circuit.state == 'closed' then
  return reply('already')
end
mover().close(ARGV[6], ARGV[5])
return reply('done')
