-- Removes a process's opening of a partition, because the invocation has ended.
--
-- KEYS[1]  hash: opening, lines "<token> <process> <first> <last> <instance>"
-- ARGV[1]  the process
-- include lines
local text = redis.call('HGET', KEYS[1], 'opening')
if not text then
  return 0
end
local others = lines_of(text, function(line)
  return string.match(line, '^%S+ (%S+)') ~= ARGV[1]
end)
redis.call('HDEL', KEYS[1], 'opening')  -- a full Redis permits a write once memory is freed
if #others > 0 then
  redis.call('HSET', KEYS[1], 'opening', table.concat(others, '\n'))
end
return 1
