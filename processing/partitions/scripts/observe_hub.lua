-- Compares the hub with the hub that is stored, and stores each change once.
--
-- KEYS[1]  hash: created_ms, partitions of the hub that was last observed
-- KEYS[2]  sorted set of changes: "<kind> <hub's created_ms> <partitions before> <after>", by the
--          time at which the change was noticed, milliseconds since 1970
-- ARGV[1]  time at which the hub was created, milliseconds since 1970
-- ARGV[2]  number of partitions
-- ARGV[3]  1 if the progress of a partition shows that the hub was recreated, else 0
-- ARGV[4]  seconds until both keys expire
-- ARGV[5]  the most changes to keep
-- Returns the changes, the latest first: change, time, change, time, ...
local created, partitions = unpack(redis.call('HMGET', KEYS[1], 'created_ms', 'partitions'))
local older = created and tonumber(ARGV[1]) < tonumber(created)
if not older or ARGV[3] == '1' then
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  if ARGV[3] == '1' or (created and created ~= ARGV[1]) then
    redis.call('ZADD', KEYS[2], 'NX', now, 'recreated ' .. ARGV[1] .. ' 0 0')
  end
  if partitions and partitions ~= ARGV[2] then
    redis.call('ZADD', KEYS[2], 'NX', now, table.concat({'partitions', ARGV[1], partitions, ARGV[2]}, ' '))
  end
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[5])
  redis.call('HSET', KEYS[1], 'created_ms', ARGV[1], 'partitions', ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
return redis.call('ZREVRANGE', KEYS[2], 0, -1, 'WITHSCORES')
