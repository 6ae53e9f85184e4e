-- Append messages to the backplane; log lines are also appended to the log, under the same id.
--
-- KEYS[1] live stream  KEYS[2] log stream  KEYS[3] lease of the elected reader
-- ARGV[1] token that must hold the lease, or "" for any publisher
-- ARGV[2] messages to keep, approximately  ARGV[3] log lines to keep, approximately
-- ARGV[4] seconds after the last message until the streams expire
-- ARGV[5...] for each message: kind, data (JSON), "1" for a log line or "0"
-- Returns the ids, or nil if another token holds the lease.
if ARGV[1] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[1] then
  return false
end
local ids = {}
for i = 5, #ARGV, 3 do
  local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'kind', ARGV[i], 'data', ARGV[i + 1])
  if ARGV[i + 2] == '1' then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], id, 'kind', ARGV[i], 'data', ARGV[i + 1])
    redis.call('EXPIRE', KEYS[2], ARGV[4])
  end
  ids[#ids + 1] = id
end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return ids
