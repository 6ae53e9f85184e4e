-- Put a later state back into a store that lost it (restarted empty, failed over behind).
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] state   ARGV[5] generation   ARGV[6] opened at, microseconds
-- ARGV[7] changed at, microseconds   ARGV[8] resumes at, microseconds; 0: not by itself
-- ARGV[9] reason, text   ARGV[10] by whom, text
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
-- Its alert may be lost as well; the id is the same, so a repeat is recognisable.
local events = { open = 'opened', half_open = 'half_opened', closed = 'closed',
  isolated = 'isolated' }
local alerts = { open = 'opened', isolated = 'isolated' }
if state == 'closed' and circuit.state ~= 'closed' then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])  -- the closing that was lost emptied the window
end
mover().move({
  state = state, generation = generation, opened_at_us = ARGV[6], changed_at_us = ARGV[7],
  resume_at_us = ARGV[8], break_us = state == 'open' and whole(rule(5)) or '0',
  reason = ARGV[9], by = ARGV[10],
}, events[state], alerts[state], 'restored: ' .. ARGV[9])
return reply('done')
