-- Appends each event to its key's ledger exactly once, or records that the downstream refused it.
--
-- KEYS[1]    string: exists during a simulated outage, in which the downstream refuses all appends;
--            with the name of a key's ledger, the appends of that key only; with "first", those of
--            the first key that appends, whose ledger's name the script then stores here; with
--            "keys:", then each key between line breaks, the appends of those keys; with "needs:",
--            then each dependency between line breaks, the appends that need those dependencies
-- KEYS[2]    list: refused appends, "<key>\t<counter>\t<partition>\t<sequence>\t<µs>"
-- KEYS[3]    number: repeated appends, which changed nothing
-- KEYS[4, 5] and so on, a pair for each event:
--   list: the key's ledger, "<counter> <partition> <sequence> <enqueued ms> <appended µs>"
--   set: the key's events in it, "<partition>/<sequence>/<enqueued ms>"
-- ARGV[1]    seconds until an idle ledger expires
-- ARGV[2]    most refused appends that are stored
-- ARGV[3]    and so on, one text for each event, because encoding more arguments would be slow for
--            the client: "<counter> <partition> <sequence> <enqueued ms since 1970>"; an event that
--            needs a dependency has a tab and the dependency's name after that
-- Returns, for each event, 1: appended, 0: already in the ledger, -1: refused.
local time = redis.call('TIME')
local now = time[1] .. string.format('%06d', time[2])
local ttl = tonumber(ARGV[1])
local events = (#KEYS - 3) / 2
local replies = {}
local outage = redis.call('GET', KEYS[1])
local some = outage and string.sub(outage, 1, 5) == 'keys:'
local some_needs = outage and string.sub(outage, 1, 6) == 'needs:'
local refused = false
local before_key = #KEYS[1] - #'outage' + #'key:'  -- both names have the same prefix
for n = 1, events do
  local event, ledger, seen = ARGV[n + 2], KEYS[2 * n + 2], KEYS[2 * n + 3]
  local counter, partition, sequence, enqueued, needs =
    string.match(event, '^(.*) (%S+) (%S+) (%d+)\t?(%S*)$')
  if needs ~= '' then
    event = string.sub(event, 1, -2 - #needs)
  end
  if outage == 'first' then
    outage = ledger
    redis.call('SET', KEYS[1], ledger)
  end
  local key = outage and string.sub(ledger, before_key + 1)
  local is_away = outage == ledger or outage and string.sub(outage, 1, 7) ~= 'ledger:'
  if some then
    is_away = string.find(outage, '\n' .. key .. '\n', 1, true)
  elseif some_needs then
    is_away = string.find(outage, '\n' .. needs .. '\n', 1, true)
  end
  if is_away then
    refused = true
    redis.call('RPUSH', KEYS[2], table.concat({key, counter, partition, sequence, now}, '\t'))
    replies[n] = -1
  elseif redis.call('SADD', seen, partition .. '/' .. sequence .. '/' .. enqueued) == 0 then
    redis.call('INCR', KEYS[3])
    replies[n] = 0
  else
    if redis.call('RPUSH', ledger, event .. ' ' .. now) % 1000 == 1 then  -- not at each append: that would halve the speed
      redis.call('EXPIRE', ledger, ttl)
      redis.call('EXPIRE', seen, ttl)
    end
    replies[n] = 1
  end
end
if refused then
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
  redis.call('EXPIRE', KEYS[2], ttl)
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('EXPIRE', KEYS[3], ttl)
end
return replies
