-- Deletes a partition's progress, makes the caller its owner, and raises the partition's epoch.
--
-- KEYS[1]  hash: sequence_number, enqueued_ms of the watermark; owner, the token of the latest
--          owner, microseconds since 1970 or more; since, the first token that may write (raised
--          here), which is also the partition's epoch; claimed, the token of the latest claim;
--          hub_created_ms, the time of creation of the hub that the progress belongs to
-- KEYS[2]  sorted set of finished events above the watermark: member "<sequence>:<enqueued ms>",
--          score sequence
-- KEYS[3]  string: the lowest version of the data's format that may process this partition
-- KEYS[4]  sorted set of marks for copies of finished events
-- ARGV[1]  seconds until an idle partition's progress expires
-- ARGV[2]  the version of the data's format that the caller reads and writes
-- ARGV[3]  the lowest version that reads what the caller writes
-- ARGV[4]  the hub's time of creation, milliseconds since 1970; "0": not known
-- Returns "newer" and KEYS[3] if the caller's version is too low, or the caller's token.
local lowest = tonumber(redis.call('GET', KEYS[3]) or '0')
if lowest > tonumber(ARGV[2]) then
  return {'newer', lowest}
end
redis.call('DEL', KEYS[2], KEYS[4])  -- first, because a full Redis permits a write once memory is freed
if lowest < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[3], ARGV[3])
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- Tokens come from the clock, so that a token from before a loss of data is older than later tokens.
local latest = tonumber(redis.call('HGET', KEYS[1], 'owner') or '0')
local owner = string.format('%.0f', math.max(now, latest + 1))
redis.call('HDEL', KEYS[1], 'sequence_number', 'enqueued_ms', 'hub_created_ms')
redis.call('HSET', KEYS[1], 'owner', owner, 'since', owner, 'claimed', owner)
if ARGV[4] ~= '0' then
  redis.call('HSET', KEYS[1], 'hub_created_ms', ARGV[4])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return {owner}
