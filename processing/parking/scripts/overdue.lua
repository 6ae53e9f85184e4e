-- Marks events that have outlasted their invocation, and forgets marks that have expired.
--
-- KEYS[1]  hash: overdue, lines "<expiry, microseconds since 1970> <position>"
-- ARGV[1]  microseconds until the marks expire
-- ARGV[2]  the most marks to keep
-- ARGV[3]  positions, separated by spaces
-- Returns 1.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local lines = {}
for expiry, position in string.gmatch(redis.call('HGET', KEYS[1], 'overdue') or '', '(%d+) (%S+)') do
  if tonumber(expiry) > now and not string.find(' ' .. ARGV[3] .. ' ', ' ' .. position .. ' ', 1, true) then
    lines[#lines + 1] = expiry .. ' ' .. position
  end
end
for position in string.gmatch(ARGV[3], '%S+') do
  lines[#lines + 1] = string.format('%.0f', now + ARGV[1]) .. ' ' .. position
end
lines = {unpack(lines, math.max(1, #lines - ARGV[2] + 1))}
redis.call('HSET', KEYS[1], 'overdue', table.concat(lines, '\n'))
return 1
