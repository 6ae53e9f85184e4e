-- The keys of one list and of its partition, the same in every script that writes to a list. Labels:
-- "" for the events without a key, "=<event key>", or "#<position>" for an event that waits alone.
--
-- KEYS[1]   hash of the partition's progress: owner, the token of the latest claim; since, the first
--           token that may write, which is the partition's epoch
-- KEYS[2]   hash: events and size (bytes) of all lists, writes (a counter), generation (of the
--           circuit), token (of the mark), poison_head (an event's id)
-- KEYS[3]   hash of keys with a list: label -> when the list was created, microseconds since 1970
-- KEYS[4]   hash: label -> replayed positions of the key, "<last>|<first>"; "<last>" was written by an
--           older version, and has no first position
-- KEYS[5]   sorted set: label by the enqueued time of the last position, milliseconds since 1970
-- KEYS[6]   hash: label -> time of the last try, microseconds since 1970, a blank, JSON of a deferral
-- KEYS[7]   sorted set: label by the time of the next replay, microseconds since 1970
-- KEYS[8]   sorted set: label by the time of the deferral, microseconds since 1970
-- KEYS[9]   string: the token of the lease's holder
-- KEYS[10]  sorted set of the list's entries: member position, score 0
-- KEYS[11]  hash: position -> kind and document
local progress, state, keys, replayed_positions, replayed_at, deferred, due, deferred_since, lease,
  entries, documents = unpack(KEYS)

-- Returns Redis's time, microseconds since 1970.
local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function digits(number)
  return string.format('%.0f', number)
end

-- Returns whether the replays of a key have included an event: by its time and by its number.
local function is_reached(position, range)
  local last, first = range:match('^([^|]*)|?(.*)$')
  return first <= position and position <= last and position:sub(17) <= last:sub(17)
end

-- Returns the replayed positions after a replay of one more event.
local function extended(range, position)
  local last, first = range:match('^([^|]*)|?(.*)$')
  if last == '' then
    return position .. '|' .. position
  end
  return (last > position and last or position) .. '|' .. first
end

-- Adds to the totals of the partition. Totals that are missing are counted at the next claim.
local function add_totals(events, size)
  if redis.call('HEXISTS', state, 'events') == 1 then
    redis.call('HINCRBY', state, 'events', digits(events))
    redis.call('HINCRBY', state, 'size', digits(size))
  end
end

-- Ends the deferral of a key.
local function end_deferral(label)
  redis.call('HDEL', deferred, label)
  redis.call('ZREM', due, label)
  redis.call('ZREM', deferred_since, label)
end

-- Counts the write, so that a repeat writes, too, and WAIT waits for the repeat. The field is deleted
-- first, because a full Redis permits a script to write once the script has freed memory.
local function count_write()
  local writes = tonumber(redis.call('HGET', state, 'writes') or '0') + 1
  redis.call('HDEL', state, 'writes')
  redis.call('HSET', state, 'writes', digits(writes))
end
