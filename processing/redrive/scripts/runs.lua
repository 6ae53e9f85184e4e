-- Returns the running redrives, without those that have expired.
--
-- KEYS[1]  hash: see begin_run.lua
-- Returns the ms since 1970 at which it began, JSON, ms, JSON, ...
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local running = {}
for _, each in ipairs(redis.call('HVALS', KEYS[1])) do
  local ends, since, document = each:match('^(%d+) (%d+) [01] (.*)$')
  if ends and tonumber(ends) > now then
    running[#running + 1] = tonumber(since)
    running[#running + 1] = document
  end
end
return running
