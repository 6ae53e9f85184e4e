-- Restore a state that the store has lost in a restart or a failover.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] state   ARGV[5] generation   ARGV[6] opened at, microseconds
-- ARGV[7] changed at, microseconds   ARGV[8] end of the break or isolation, microseconds; 0: none
-- ARGV[9] reason, text   ARGV[10] name of the operator or "timer", text
-- ARGV[11] the state that follows an isolation, or '-'
-- ARGV[12] stops_app of the lost opening, see common.lua
-- Outcome: done | ignored (the store's state is as late or later)

-- include common
-- include moves

local RANK = { open = 0, isolated = 0, half_open = 1, closed = 2 }
local state, generation = ARGV[4], tonumber(ARGV[5])
local later = generation > circuit.generation
  or (generation == circuit.generation and RANK[state] > RANK[circuit.state])
if not later then
  return reply('ignored')
end
-- The alert may be lost too, so it is added again; the same id marks a repeat.
local events = { open = 'opened', half_open = 'half_opened', closed = 'closed',
  isolated = 'isolated' }
local alerts = { open = 'opened', isolated = 'isolated' }
if state == 'closed' and circuit.state ~= 'closed' then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])  -- the lost closing had emptied the window
end
mover().move({
  state = state, generation = generation, opened_at_us = ARGV[6], changed_at_us = ARGV[7],
  resume_at_us = ARGV[8], break_us = state == 'open' and integer_text(rule(5)) or '0',
  reason = ARGV[9], by = ARGV[10], ends_as = ARGV[11],
  stops_app = ARGV[12],
}, events[state], alerts[state], 'restored: ' .. ARGV[9])
return reply('done')
