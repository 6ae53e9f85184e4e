-- Stores the id of the event that the owner poisons at its next attempt.
--
-- KEYS[1]  hash: poison_head
-- ARGV[1]  the event's id, or "" for none
-- Returns 1.
redis.call('HDEL', KEYS[1], 'poison_head')  -- a full Redis permits a write once memory is freed
if ARGV[1] ~= '' then
  redis.call('HSET', KEYS[1], 'poison_head', ARGV[1])
end
return 1
