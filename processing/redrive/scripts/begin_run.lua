-- Stores a running redrive, or its progress.
--
-- KEYS[1]  hash: token -> "<ms since 1970 at which it expires> <ms since 1970 at which it began>
--          <1 if it is of all events, else 0> <JSON>"
-- ARGV[1]  the redrive's token
-- ARGV[2]  JSON
-- ARGV[3]  1 if the redrive is of all events, else 0
-- ARGV[4]  1 if another redrive of all events refuses this one, else 0
-- ARGV[5]  milliseconds until the redrive expires
-- ARGV[6]  ms since 1970 at which the redrive began; 0: now
-- Returns the ms since 1970 at which the redrive began; or, if another one refuses it, the ms at which
-- that one began, and its JSON.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HGETALL', KEYS[1])
local began = tonumber(ARGV[6])
if began == 0 then
  began = now
end
for i = 1, #found, 2 do
  local ends, since, all, document = found[i + 1]:match('^(%d+) (%d+) ([01]) (.*)$')
  if not ends or tonumber(ends) <= now then
    redis.call('HDEL', KEYS[1], found[i])
  elseif ARGV[4] == '1' and all == '1' then
    return {tonumber(since), document}
  end
end
redis.call('HDEL', KEYS[1], ARGV[1])  -- a full Redis permits a write once memory is freed
local ends = string.format('%.0f %.0f %s ', now + ARGV[5], began, ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], ends .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {began}
