-- Claims a partition for the caller, and returns its parked and replayed keys.
--
-- KEYS[1]  string: the latest claim
-- KEYS[2]  hash of parked keys: label -> when it was parked, microseconds since 1970
-- KEYS[3]  hash: label -> position up to which a redrive has replayed the key
-- ARGV[1]  the claim
-- ARGV[2]  the watermark's position, or ""; replayed positions up to there are deleted, because
--          progress covers those events
-- ARGV[3]  seconds until an idle partition's claim and replayed positions expire
-- Returns the labels of the parked keys, and label, position, ... of replayed keys.
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[3])  -- a batch may be held longer than the earlier expiry
local found = redis.call('HGETALL', KEYS[3])
local replayed = {}
for i = 1, #found, 2 do
  if found[i + 1] <= ARGV[2] then
    redis.call('HDEL', KEYS[3], found[i])
  else
    replayed[#replayed + 1] = found[i]
    replayed[#replayed + 1] = found[i + 1]
  end
end
return {redis.call('HKEYS', KEYS[2]), replayed}
