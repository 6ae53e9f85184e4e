-- Adds finished events of a partition and raises its watermark. Calls may be repeated and may come in
-- any order: two owners that overlap cannot lower the watermark or lose each other's events. The
-- reply shows the earlier owner that it is stale.
--
-- KEYS[1]  hash: sequence_number, enqueued_ms of the watermark; owner, the token of the latest
--          owner; since, the first token that may write (raised when progress is dropped);
--          sent_since, the value of since when KEYS[3] was written: other marks do not count
-- KEYS[2]  sorted set of finished events above the watermark: member "<sequence>:<enqueued ms>",
--          score sequence
-- KEYS[3]  only with ARGV[6]: sorted set of marks for copies of finished events: member the producer's
--          id, score the event's enqueued time, milliseconds since 1970
-- ARGV[1]  seconds until an idle partition's progress expires
-- ARGV[2]  the writer's token
-- ARGV[3]  watermark's sequence number, or "" for none
-- ARGV[4]  watermark's enqueued time, milliseconds since 1970, or ""
-- ARGV[5]  finished events, "<sequence>:<enqueued ms>", separated by blanks
-- ARGV[6]  marks, "<id>:<enqueued ms>", separated by blanks; absent: no marks
-- ARGV[7]  the lowest enqueued time of a mark that is kept
-- ARGV[8]  the most marks
-- Returns 1 if the writer is the latest owner, else 0.
local ttl = tonumber(ARGV[1])
local token = tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[1], 'owner', 'since', 'sequence_number')
if token < tonumber(known[2] or '0') then
  return 0  -- the writer's events belong to a hub that was deleted
end
-- A full Redis permits a script to write once the script has written; EXPIRE takes no memory.
local exists = redis.call('EXPIRE', KEYS[1], ttl)
local added, size = {}, 0
for member, sequence in string.gmatch(ARGV[5], '((%d+):%d+)') do
  added[size + 1], added[size + 2] = sequence, member
  size = size + 2
  if size == 1000 then  -- unpack has a limit
    redis.call('ZADD', KEYS[2], unpack(added))
    added, size = {}, 0
  end
end
if size > 0 then
  redis.call('ZADD', KEYS[2], unpack(added))
end
local watermark = tonumber(known[3] or '-1')
local proposed = tonumber(ARGV[3])
if proposed and proposed > watermark then
  redis.call('HSET', KEYS[1], 'sequence_number', ARGV[3], 'enqueued_ms', ARGV[4])
  watermark = proposed
end
if redis.call('EXPIRE', KEYS[2], ttl) == 1 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', watermark)
end
if ARGV[6] then
  local since = known[2] or '0'
  if redis.call('HGET', KEYS[1], 'sent_since') ~= since then
    redis.call('DEL', KEYS[3])
    redis.call('HSET', KEYS[1], 'sent_since', since)
  end
  local marks, count = {}, 0
  for id, enqueued in string.gmatch(ARGV[6], '(%S+):(%d+)') do
    marks[count + 1], marks[count + 2] = enqueued, id
    count = count + 2
    if count == 1000 then
      redis.call('ZADD', KEYS[3], unpack(marks))
      marks, count = {}, 0
    end
  end
  if count > 0 then
    redis.call('ZADD', KEYS[3], unpack(marks))
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[7])
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[8])
  redis.call('EXPIRE', KEYS[3], ttl)
end
-- A server that lost its data has no owner: the writer becomes the owner until a later token writes.
local latest = tonumber(known[1] or '-1')
if token > latest then
  redis.call('HSET', KEYS[1], 'owner', ARGV[2])
end
if exists == 0 then
  redis.call('EXPIRE', KEYS[1], ttl)
end
return token < latest and 0 or 1
