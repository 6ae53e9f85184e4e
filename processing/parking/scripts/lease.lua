-- Acquires a key's replay lease.
--
-- KEYS      see layout.lua
-- KEYS[12]  string: the lowest version of the data's format that may process this partition
-- ARGV[1]   the caller's token
-- ARGV[2]   the key's label
-- ARGV[3]   duration of the lease, milliseconds
-- ARGV[4]   the version of the data's format that the caller reads and writes
-- Returns "held" if another token holds the lease, "newer" and the version in KEYS[12] if the caller's
-- version is too low, or "acquired", the partition's epoch, and the key's deferral (as in KEYS[6]) with
-- the time of the deferral, both false if the key is not deferred.
-- include layout
local lowest = tonumber(redis.call('GET', KEYS[12]) or '0')
if lowest > tonumber(ARGV[4]) then
  return {'newer', lowest}
end
local holder = redis.call('GET', lease)
if holder and holder ~= ARGV[1] then
  return {'held'}
end
redis.call('DEL', lease)  -- a full Redis permits a write once memory is freed
redis.call('SET', lease, ARGV[1], 'PX', ARGV[3])
return {
  'acquired',
  redis.call('HGET', progress, 'since') or '0',
  redis.call('HGET', deferred, ARGV[2]),
  redis.call('ZSCORE', deferred_since, ARGV[2]),
}
