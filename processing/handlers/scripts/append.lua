-- Appends events to their keys' ledgers, each once, or notes that the downstream refused them.
--
-- KEYS[1]    string: exists while the downstream is made to refuse everything
-- KEYS[2]    list: refused appends, "<key>\t<counter>\t<partition>\t<sequence>\t<µs>"
-- KEYS[3]    number: appends that were in the ledger already
-- KEYS[4, 5] and so on, a pair for each event:
--   list: the key's ledger, "<counter> <partition> <sequence> <enqueued ms> <appended µs>"
--   set: the key's events in it, "<partition>/<sequence>/<enqueued ms>"
-- ARGV[1]    seconds until an idle ledger is forgotten
-- ARGV[2]    the most refused appends that are kept
-- ARGV[3…7]  and so on, five for each event: its key or "", counter, partition, sequence number,
--            enqueued time in milliseconds since 1970
-- Returns, for each event, 1 if it was appended, 0 if it was there already, -1 if refused.
local time = redis.call('TIME')
local now = time[1] .. string.format('%06d', time[2])
local ttl = tonumber(ARGV[1])
local events = (#KEYS - 3) / 2
local replies = {}
local refuse = redis.call('EXISTS', KEYS[1]) == 1
for n = 1, events do
  local a = 5 * n - 2
  local key, counter, partition = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local sequence, enqueued = ARGV[a + 3], ARGV[a + 4]
  local ledger, seen = KEYS[2 * n + 2], KEYS[2 * n + 3]
  if refuse then
    redis.call('RPUSH', KEYS[2], table.concat({key, counter, partition, sequence, now}, '\t'))
    replies[n] = -1
  elseif redis.call('SADD', seen, partition .. '/' .. sequence .. '/' .. enqueued) == 0 then
    redis.call('INCR', KEYS[3])
    replies[n] = 0
  else
    local line = table.concat({counter, partition, sequence, enqueued, now}, ' ')
    if redis.call('RPUSH', ledger, line) % 1000 == 1 then  -- not each time: it halves the speed
      redis.call('EXPIRE', ledger, ttl)
      redis.call('EXPIRE', seen, ttl)
    end
    replies[n] = 1
  end
end
if refuse then
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
  redis.call('EXPIRE', KEYS[2], ttl)
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('EXPIRE', KEYS[3], ttl)
end
return replies
