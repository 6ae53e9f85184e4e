-- The checks of a writer that adds to a list.
--
-- ARGV[1]  the writer's token of the latest claim
-- ARGV[2]  the token of the partition's mark, or "" if marks are not used
-- ARGV[3]  "1" if the writer may create the mark's token
-- ARGV[4]  the key's label
-- ARGV[5]  the most entries that one list may have
-- ARGV[6]  the events of the partition at which no event is deferred or joins a deferred key
-- ARGV[7]  the most bytes that all lists of the partition may have
local label = ARGV[4]

-- Returns "taken" (another claim is the latest), "unmarked" (the mark's token is missing) or nil.
local function refusal()
  if redis.call('HGET', progress, 'owner') ~= ARGV[1] then
    return 'taken'
  end
  local token = redis.call('HGET', state, 'token') or ''
  if ARGV[2] ~= '' and token ~= ARGV[2] then
    if token ~= '' or ARGV[3] ~= '1' then
      return 'unmarked'
    end
    redis.call('HSET', state, 'token', ARGV[2])
  end
end

-- Returns the events and the bytes of all lists. An emptied server has no totals until the next claim.
local function totals()
  local found = redis.call('HMGET', state, 'events', 'size')
  if not found[1] then
    found = {count(keys)}
  end
  return tonumber(found[1]), tonumber(found[2])
end

-- Returns "many" or "large" if one more document does not fit, else nil.
local function overflow(events, size, document, joins_deferred)
  if joins_deferred and events >= tonumber(ARGV[6]) then
    return 'many'
  end
  if size + #document - 1 > tonumber(ARGV[7]) then  -- the letter of the kind does not count
    return 'large'
  end
end

-- Returns the state of an event that is in the list: 1 parked, 2 poisoned, 3 not announced yet.
local function state_of(known)
  local kind = known:sub(1, 1)
  return kind == 'P' and 2 or kind == 'U' and 3 or 1
end
