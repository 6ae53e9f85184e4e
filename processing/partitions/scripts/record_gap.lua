-- Records a gap of a partition, without the events of earlier gaps of the same hub.
--
-- KEYS[1]  list of gaps, the latest first: "<first> <last> <seen, milliseconds since 1970> <handled>
--          <hub's time of creation, milliseconds since 1970>"
-- ARGV[1]  seconds until the gaps of an idle partition expire
-- ARGV[2]  the most gaps to keep
-- ARGV[3]  sequence number of the first expired event
-- ARGV[4]  sequence number of the last expired event
-- ARGV[5]  the hub's time of creation, milliseconds since 1970
-- ARGV[6]  sequence numbers of handled events, separated by blanks
-- Returns the gap as it stands in the list, or "" if no unhandled event is left to record.
local first, last = tonumber(ARGV[3]), tonumber(ARGV[4])
for _, gap in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local known, created = string.match(gap, '^%d+ (%d+) %d+ %d+ (%d+)$')
  if created == ARGV[5] then
    first = math.max(first, tonumber(known) + 1)
  end
end
local handled = 0
for number in string.gmatch(ARGV[6], '%d+') do
  number = tonumber(number)
  if number >= first and number <= last then
    handled = handled + 1
  end
end
if last - first + 1 - handled <= 0 then
  return ''
end
local time = redis.call('TIME')
local seen = time[1] * 1000 + math.floor(time[2] / 1000)
local gap = string.format('%.0f %.0f %.0f %d ', first, last, seen, handled) .. ARGV[5]
redis.call('LPUSH', KEYS[1], gap)
redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
redis.call('EXPIRE', KEYS[1], ARGV[1])
return gap
