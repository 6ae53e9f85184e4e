-- Returns the states that instances report, without old reports.
--
-- KEYS[1]  hash: instance -> "<ms since 1970>:<states as JSON>"
-- ARGV[1]  milliseconds after which a report is old
-- Returns instance, age in milliseconds, states as JSON, instance, ...
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HGETALL', KEYS[1])
local fresh = {}
for i = 1, #found, 2 do
  local at, states = found[i + 1]:match('^(%d+):(.*)$')
  if at and now - tonumber(at) <= tonumber(ARGV[1]) then
    fresh[#fresh + 1] = found[i]
    fresh[#fresh + 1] = math.max(0, now - tonumber(at))
    fresh[#fresh + 1] = states
  end
end
return fresh
