-- The pause of a key that waits for a dependency. The keys may have been woken since the writer saw the
-- dependency's circuit; nothing would wake this key any more.
--
-- ARGV[first]      name of the dependency, or "" if the key waits for no waking; then no more follows
-- ARGV[first + 1]  generation of the circuit
-- ARGV[first + 2]  state of the circuit: 0: open, 1: half-open, 2: closed
-- ARGV[first + 3]  longest pause after a waking for a later state, microseconds
local function shortened(pause, first)
  if ARGV[first] == '' then
    return pause
  end
  local woken = redis.call('HGET', state, 'wake:' .. ARGV[first]) or ''
  local generation, rank = woken:match('^(%d+) (%d) ')
  generation, rank = tonumber(generation or '-1'), tonumber(rank or '-1')
  local seen, seen_rank = tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2])
  if generation > seen or (generation == seen and rank > seen_rank) then
    return math.min(pause, tonumber(ARGV[first + 3]))
  end
  return pause
end
