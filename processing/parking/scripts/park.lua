-- Appends events to their key's entries if the key is parked. A repeat changes nothing.
--
-- KEYS[1]  string: the latest claim
-- KEYS[2]  hash of parked keys: label -> when it was parked, microseconds since 1970
-- KEYS[3]  sorted set of the key's entries: member position, score 0
-- KEYS[4]  hash: position -> kind and document
-- KEYS[5]  hash: label -> position up to which a redrive has replayed the key
-- ARGV[1]  the caller's claim
-- ARGV[2]  the key's label
-- ARGV[3]  the most entries that one key may have
-- ARGV[4…] position, kind and document of each event, in order
-- Returns "parked" and a state for each event (0: replayed before; 1: parked; 2: in the list as
-- poisoned; 3: in the list as poisoned, its message may not be in the poison queue), or "released"
-- and the replayed position or "", or "full" (the events that fit are parked), or "taken" (another
-- claim is the latest).
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'taken'}
end
local replayed = redis.call('HGET', KEYS[5], ARGV[2]) or ''
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then
  return {'released', replayed}
end
local most = tonumber(ARGV[3])
local entries = redis.call('ZCARD', KEYS[3])
local reply = {'parked'}
for i = 4, #ARGV - 1, 2 do
  local known = redis.call('HGET', KEYS[4], ARGV[i])
  local state = 1
  if known then
    local kind = known:sub(1, 1)
    state = kind == 'P' and 2 or kind == 'U' and 3 or 1
  elseif ARGV[i] <= replayed and ARGV[i]:sub(17) <= replayed:sub(17) then  -- time and number
    state = 0
  elseif entries >= most then
    return {'full'}
  else
    redis.call('ZADD', KEYS[3], 0, ARGV[i])
    redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
    entries = entries + 1
  end
  reply[#reply + 1] = state
end
return reply
