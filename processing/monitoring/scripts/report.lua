-- Replaces the states that one instance reports, and deletes the reports of instances that are gone.
--
-- KEYS[1]  hash: instance -> "<ms since 1970>:<states as JSON>"
-- ARGV[1]  the instance
-- ARGV[2]  states as JSON, or "" for none
-- ARGV[3]  milliseconds after which a report is old
-- Returns 1.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  local at = tonumber(found[i + 1]:match('^%d+'))
  if not at or now - at > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], found[i])
  end
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ':' .. ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
