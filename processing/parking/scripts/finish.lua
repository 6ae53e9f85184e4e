-- Removes a finished entry, and releases its key with the last entry. One script does both, so that no
-- event is appended between the removal of the last entry and the release.
--
-- KEYS      see layout.lua
-- KEYS[12]  sorted set of replayed poisonings: member verdict, score microseconds since 1970
-- ARGV[1]   the caller's token of the lease
-- ARGV[2]   the key's label
-- ARGV[3]   position
-- ARGV[4]   the poisoned event's verdict, or ""
-- ARGV[5]   the epoch of the lease: the time of the last rewind, microseconds since 1970; after a later
--           rewind, no replayed position is noted
-- ARGV[6]   seconds until replayed positions and verdicts expire
-- Returns "written" and the number of entries that are left (0: released), or "expired" if the caller
-- does not hold the lease.
-- include layout
local token, label, position, verdict = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('GET', lease) ~= token then
  return {'expired'}
end
-- The removal comes first, because a full Redis permits a write once memory is freed.
local removed = redis.call('ZREM', entries, position)
local size = redis.call('HSTRLEN', documents, position)
if redis.call('HDEL', documents, position) == 1 then
  add_totals(-removed, 1 - size)
end
local since = tonumber(redis.call('HGET', progress, 'since') or '0')
-- Events from before a rewind are handled again when the hub delivers them again. Between the finished
-- events of a list there may be some that the rewind has not brought back yet.
if since == tonumber(ARGV[5]) and tonumber(position:sub(1, 15)) * 1000 > since then
  local range = extended(redis.call('HGET', replayed_positions, label) or '', position)
  redis.call('HSET', replayed_positions, label, range)
  redis.call('ZADD', replayed_at, range:sub(1, 15), label)
  redis.call('EXPIRE', replayed_positions, ARGV[6])
  redis.call('EXPIRE', replayed_at, ARGV[6])
end
if verdict ~= '' then
  local now = now_us()
  redis.call('ZADD', KEYS[12], digits(now), verdict)
  redis.call('ZREMRANGEBYSCORE', KEYS[12], '-inf', digits(now - ARGV[6] * 1000000))
  redis.call('EXPIRE', KEYS[12], ARGV[6])
end
local left = redis.call('ZCARD', entries)
if left == 0 then
  redis.call('HDEL', keys, label)
  end_deferral(label)
end
count_write()
return {'written', left}
