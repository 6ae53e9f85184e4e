-- Claims a partition: makes the caller its owner, and returns its progress and the state of the
-- batch's keys. Every batch calls this script, so a partition without lists and replayed positions
-- costs no more than its progress.
--
-- KEYS[1]  hash: sequence_number, enqueued_ms of the watermark; owner, the token of the latest
--          claim, microseconds since 1970 or more; since, the first token that may write; claimed,
--          as owner, but not written by a commit: a commit to an emptied server makes its writer
--          the owner, but is no claim; hub_created_ms, the time of creation of the hub that the
--          progress belongs to, milliseconds since 1970
-- KEYS[2]  sorted set of finished events above the watermark: member "<sequence>:<enqueued ms>",
--          score sequence
-- KEYS[3]  string: the lowest version of the data's format that may process this partition
-- KEYS[4]  hash of keys with a list: label -> when the list was created, microseconds since 1970
-- KEYS[5]  hash: label -> replayed positions of the key, "<last>|<first>" or "<last>"
-- KEYS[6]  sorted set: label by the enqueued time of the last position, milliseconds since 1970
-- KEYS[7]  sorted set: label by the time of the next replay, microseconds since 1970
-- KEYS[8]  sorted set: label by the time of the deferral, microseconds since 1970
-- KEYS[9]  hash: events and size of all lists, generation of the circuit, token of the mark,
--          poison_head; opening, a line for each process that has claimed the partition and has not
--          ended its batch: "<token> <process> <first> <last> <instance>"; overdue, a line for each
--          event that outlasted its invocation: "<expiry, microseconds since 1970> <position>"
-- KEYS[10] string: the claim of an instance of format 2, whose scripts know no other token
-- KEYS[11] hash: label -> time of the last try, microseconds since 1970, a blank, JSON of a deferral
-- ARGV[1]  seconds until an idle partition's progress and replayed positions expire
-- ARGV[2]  the version of the data's format that the caller reads and writes
-- ARGV[3]  the lowest version that reads what the caller writes
-- ARGV[4]  the most due keys to return
-- ARGV[5]  the most latest deferred keys to return
-- ARGV[6]  the circuit's generation while the circuit is closed, else 0
-- ARGV[7]  JSON array of the batch's keys: a string, null (the events without a key) or an array of
--          a position (an event that waits alone)
-- ARGV[8]  the caller's opening without its token, or "" to record none
-- ARGV[9]  the most openings to keep
-- Returns "newer" and KEYS[3] if the caller's version is too low. Else the token of this claim, of the
-- claim before (or 0), the watermark's sequence number and enqueued time (false for none), and the
-- finished members, the openings of other processes, the overdue events, the time of creation of
-- the progress's hub ("0": not known); then, unless all of it is empty: the places in ARGV[7] of keys with a list, places and replayed positions of keys, labels that are due, latest
-- deferred labels with their times, events, size, token, poison_head, and the dependencies that the latest deferred labels wait for ("": unknown).
-- include count
-- include range
local lowest = tonumber(redis.call('GET', KEYS[3]) or '0')
if lowest > tonumber(ARGV[2]) then
  return {'newer', lowest}
end
-- A batch may be held longer than the earlier expiry. EXPIRE comes first because it takes no memory: a
-- full Redis permits a script to write once it has written.
local has_finished = redis.call('EXPIRE', KEYS[2], ARGV[1]) == 1
if lowest < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[3], ARGV[3])
  redis.call('DEL', KEYS[10])  -- that instance still runs its batch, and must not park any more
end
local known = redis.call('HMGET', KEYS[1], 'owner', 'sequence_number', 'enqueued_ms', 'claimed', 'since', 'hub_created_ms')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- Tokens come from the clock, so that a token from before a loss of data is older than later tokens.
local owner = string.format('%.0f', math.max(now, tonumber(known[1] or '0') + 1))
redis.call('HSET', KEYS[1], 'owner', owner, 'claimed', owner)
redis.call('EXPIRE', KEYS[1], ARGV[1])

local state = redis.call(
  'HMGET', KEYS[9], 'events', 'size', 'generation', 'token', 'poison_head', 'opening', 'overdue'
)
local events, size = state[1], state[2]
if not events then
  events, size = count(KEYS[4])  -- a new partition, or the lists of an older version
  redis.call('HSET', KEYS[9], 'events', events, 'size', size)
end
if tonumber(ARGV[6]) > tonumber(state[3] or '0') then
  redis.call('HSET', KEYS[9], 'generation', ARGV[6])
  redis.call('ZUNIONSTORE', KEYS[7], 1, KEYS[7], 'WEIGHTS', 0)
end

local opening = state[6] or ''
if ARGV[8] ~= '' then
  local mine, others = string.match(ARGV[8], '^%S+'), {}
  for line in string.gmatch(opening, '[^\n]+') do
    local token, process, last = string.match(line, '^(%d+) (%S+) %d+ (%d+)')
    -- An earlier batch of the caller has ended. A batch that progress covers has ended well. A batch
    -- from before a rewind, or of a hub that was recreated, means other events.
    if token and process ~= mine and tonumber(last) > tonumber(known[2] or '-1')
        and tonumber(token) >= tonumber(known[5] or '0') then
      others[#others + 1] = line
    end
  end
  others = {unpack(others, math.max(1, #others - tonumber(ARGV[9]) + 2))}
  opening = table.concat(others, '\n')
  others[#others + 1] = owner .. ' ' .. ARGV[8]
  redis.call('HSET', KEYS[9], 'opening', table.concat(others, '\n'))
end

local lists, replays = 0, 0
if redis.call('EXISTS', KEYS[4], KEYS[5]) > 0 then
  lists, replays = redis.call('HLEN', KEYS[4]), redis.call('HLEN', KEYS[5])
end
local watermark = ''
if replays > 0 then
  redis.call('EXPIRE', KEYS[5], ARGV[1])
  redis.call('EXPIRE', KEYS[6], ARGV[1])
  if redis.call('ZCARD', KEYS[6]) < replays then  -- an older version wrote no times
    local found = redis.call('HGETALL', KEYS[5])
    for i = 1, #found, 2 do
      redis.call('ZADD', KEYS[6], found[i + 1]:sub(1, 15), found[i])
    end
    redis.call('EXPIRE', KEYS[6], ARGV[1])
  end
  if known[2] then
    watermark = string.rep('0', 15 - #known[3]) .. known[3] .. ':'
      .. string.rep('0', 20 - #known[2]) .. known[2]
    -- Progress covers these events. A few at each claim: one claim must not take long.
    local old = redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', known[3], 'LIMIT', 0, 100)
    for _, label in ipairs(old) do
      if last_of(redis.call('HGET', KEYS[5], label) or '') <= watermark then
        redis.call('HDEL', KEYS[5], label)
        redis.call('ZREM', KEYS[6], label)
      end
    end
  end
end

local finished = has_finished and redis.call('ZRANGE', KEYS[2], 0, -1) or {}
local reply = {owner, known[4] or '0', known[2], known[3], finished, opening, state[7] or '', known[6] or '0'}
if lists == 0 and replays == 0 and not state[4] and not state[5] then
  return reply
end
local parked, replayed = {}, {}
if lists > 0 or replays > 0 then
  local keys = cjson.decode(ARGV[7])
  for first = 1, #keys, 1000 do  -- unpack has a limit
    local labels = {}
    for i = first, math.min(first + 999, #keys) do
      local key = keys[i]
      labels[#labels + 1] = key == cjson.null and ''
        or type(key) == 'table' and '#' .. key[1] or '=' .. key
    end
    if lists > 0 then
      for i, since in ipairs(redis.call('HMGET', KEYS[4], unpack(labels))) do
        if since then
          parked[#parked + 1] = first + i - 1
        end
      end
    end
    if replays > 0 then
      for i, range in ipairs(redis.call('HMGET', KEYS[5], unpack(labels))) do
        if range and last_of(range) > watermark then
          replayed[#replayed + 1] = first + i - 1
          replayed[#replayed + 1] = range
        end
      end
    end
  end
end
local due, latest, dependencies = {}, {}, {}
if lists > 0 then
  local until_now = string.format('%.0f', now)
  due = redis.call('ZRANGEBYSCORE', KEYS[7], '-inf', until_now, 'LIMIT', 0, ARGV[4])
  latest = redis.call('ZREVRANGE', KEYS[8], 0, ARGV[5] - 1, 'WITHSCORES')
  for i = 1, #latest, 2 do
    local deferral = redis.call('HGET', KEYS[11], latest[i]) or ''
    -- A quotation mark inside of a text follows a backslash, so no text matches.
    dependencies[#dependencies + 1] = deferral:match('"dependency":"([^"]*)"') or ''
  end
end
local token, poison_head = state[4] or '', state[5] or ''
for _, each in ipairs({
  parked, replayed, due, latest, events, size, token, poison_head, dependencies,
}) do
  reply[#reply + 1] = each
end
return reply
