-- Changes the record of the events of a partition that run alone in their processes.
--
-- KEYS[1]  hash: alone, lines "<position> <process> <began> <alive>", the times in microseconds since
--          1970
-- ARGV[1]  begin: the event begins to run; alive: a sign of life; end: the event does not run any more
-- ARGV[2]  the process; for `end` also "": the event's runs in all processes end
-- ARGV[3]  the event's position; for `end` also "": the earlier runs of the event stay
-- ARGV[4]  the most lines to keep
-- include lines
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local began
local kept = lines_of(redis.call('HGET', KEYS[1], 'alone'), function(line)
  local position, process, at = string.match(line, '^(%S+) (%S+) (%d+)')
  if process == ARGV[2] then
    began = position == ARGV[3] and at or nil
    return false
  end
  return ARGV[1] ~= 'end' or position ~= ARGV[3]
end)
if ARGV[1] == 'begin' or ARGV[1] == 'alive' and began then
  local at = ARGV[1] == 'begin' and now or began
  kept[#kept + 1] = table.concat({ARGV[3], ARGV[2], at, now}, ' ')
end
local first = math.max(1, #kept - tonumber(ARGV[4]) + 1)
redis.call('HDEL', KEYS[1], 'alone')  -- a full Redis permits a write once memory is freed
if #kept > 0 then
  redis.call('HSET', KEYS[1], 'alone', table.concat(kept, '\n', first))
end
return 1
