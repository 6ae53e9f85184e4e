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
-- ARGV[3]    and so on, one for each event, for encoding more would cost the client more than all
--            the rest: "<counter> <partition> <sequence> <enqueued ms since 1970>"
-- Returns, for each event, 1 if it was appended, 0 if it was there already, -1 if refused.
local time = redis.call('TIME')
local now = time[1] .. string.format('%06d', time[2])
local ttl = tonumber(ARGV[1])
local events = (#KEYS - 3) / 2
local replies = {}
local refuse = redis.call('EXISTS', KEYS[1]) == 1
local before_key = #KEYS[1] - #'outage' + #'key:'  -- the names begin alike
for n = 1, events do
  local event, ledger, seen = ARGV[n + 2], KEYS[2 * n + 2], KEYS[2 * n + 3]
  local counter, partition, sequence, enqueued = string.match(event, '^(.*) (%S+) (%S+) (%S+)$')
  if refuse then
    local key = string.sub(ledger, before_key + 1)
    redis.call('RPUSH', KEYS[2], table.concat({key, counter, partition, sequence, now}, '\t'))
    replies[n] = -1
  elseif redis.call('SADD', seen, partition .. '/' .. sequence .. '/' .. enqueued) == 0 then
    redis.call('INCR', KEYS[3])
    replies[n] = 0
  else
    if redis.call('RPUSH', ledger, event .. ' ' .. now) % 1000 == 1 then  -- not each time: it halves the speed
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
