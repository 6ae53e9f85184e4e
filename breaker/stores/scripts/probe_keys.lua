-- What the probes of a half-open circuit showed for each key.
-- PROBE_KEYS  hash: generation; asked: microseconds at which a key without a failed probe asked
--             last; "f<key>": "<successes of other keys then> <microseconds> <probe id>" of its
--             last failed probe; "s<key>": its successful probes. A probe without a key counts as
--             a key of its own, named as the probe.

local ASK_US = 3000000

-- Forget the probes of an earlier generation; PROBE_KEYS is in no list of keys that a move deletes.
local function begin_probe_keys(probe_keys)
  local generation = integer_text(circuit.generation)
  if redis.call('HMGET', probe_keys, 'generation')[1] ~= generation then
    redis.call('DEL', probe_keys)
    redis.call('HSET', probe_keys, 'generation', generation)
  end
  redis.call('PEXPIRE', probe_keys, PROBES_MS)
end
