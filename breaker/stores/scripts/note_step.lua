-- Put a call to stop or start the app on record, also in the history.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash, see callbacks.lua
-- KEYS[11] chain      hash: stop, start -> "<microseconds> <step, JSON>"; repeated -> "<generation>
--                     <number> <microseconds>"
-- ARGV[4] stop | start   ARGV[5] time of the step, microseconds   ARGV[6] the step, JSON
-- ARGV[7] event of the history   ARGV[8] generation   ARGV[9] caller, text   ARGV[10] detail, text
-- ARGV[11] lifetime, milliseconds
-- Returns 1, or 0 if this step or a later one is on record

-- include common
-- include moves
-- include callbacks

local known = redis.call('HMGET', KEYS[11], ARGV[4])[1]
if known and tonumber(string.match(known, '^%d+')) >= tonumber(ARGV[5]) then
  return 0
end
redis.call('HSET', KEYS[11], ARGV[4], ARGV[5] .. ' ' .. ARGV[6])
redis.call('PEXPIRE', KEYS[11], ARGV[11])
note_at(ARGV[7], ARGV[8], ARGV[9], ARGV[5], ARGV[10])
return 1
