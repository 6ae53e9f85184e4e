-- Returns 1 if a comparison with the queue is due, else 0.
--
-- KEYS     hash entries: value by name; sorted sets order, keys, ids: see `value.lua`; hash causes:
--          number of entries; hash state: see `state.lua`
-- ARGV[1]  the queue's number of messages
-- ARGV[2]  seconds for which the numbers must differ
-- ARGV[3]  seconds after which held messages are looked for again
-- ARGV[4]  how many times longer than a comparison takes the numbers must differ
-- include value
-- include known
local state, at = known(), now()
if state.compares then
  return 0
end
if not state.built then
  return 1
end
local total = state.entries + (state.unreadable or 0) + (state.held or 0) + (state.of_others or 0)
if total == tonumber(ARGV[1]) then
  redis.call('HDEL', KEYS[6], 'differs')
  return tonumber(state.held or 0) > 0 and at - state.built >= tonumber(ARGV[3]) and 1 or 0
end
if not state.differs then
  redis.pcall('HSET', KEYS[6], 'differs', string.format('%.6f', at))  -- a full Redis refuses this
  return 0
end
local wait = math.max(tonumber(ARGV[2]), (state.took or 0) * ARGV[4])
return at - state.differs >= wait and 1 or 0
