-- Notes the watermarks of the partitions that are behind, and returns for how long each of them has
-- not changed. A partition that is not named is not behind, and its note is deleted.
--
-- KEYS[1]  hash: partition -> "<watermark>:<since, ms since 1970>:<last seen, ms since 1970>"
-- ARGV[1]  milliseconds without an observation after which a note starts again
-- ARGV[2]  partition
-- ARGV[3]  watermark, or "" for none; then the next partition, ...
-- Returns milliseconds, one for each partition.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gap = tonumber(ARGV[1])
local named, ages = {}, {}
for i = 2, #ARGV, 2 do
  local partition, watermark = ARGV[i], ARGV[i + 1]
  named[partition] = true
  local note = redis.call('HGET', KEYS[1], partition) or ''
  local known, since, seen = note:match('^([^:]*):(%d+):(%d+)$')
  if known ~= watermark or now - tonumber(seen) > gap then
    since = now
  end
  since = math.min(tonumber(since), now)
  redis.call('HSET', KEYS[1], partition, string.format('%s:%.0f:%.0f', watermark, since, now))
  ages[#ages + 1] = now - since
end
for _, partition in ipairs(redis.call('HKEYS', KEYS[1])) do
  if not named[partition] then
    redis.call('HDEL', KEYS[1], partition)
  end
end
redis.call('PEXPIRE', KEYS[1], gap)
return ages
