-- Appends events to their key's list if the key has one. A repeat changes nothing. Without events, only
-- the mark's token is placed.
--
-- KEYS     see layout.lua
-- ARGV     see writer.lua
-- ARGV[8…] position, kind and document of each event, in order
-- Returns "written" and a state for each event (0: replayed before; 1: in the list; 2: in the list as
-- poisoned; 3: as 2, its message may not be in the poison queue), or "released" and the replayed
-- positionss or "", or "long", "many" or "large" (the list or the partition is full; the events that fit
-- are in the list), or why nothing was written: "taken" or "unmarked".
-- include layout
-- include count
-- include writer
local refused = refusal()
if refused then
  return {refused}
end
if #ARGV < 8 then
  count_write()
  return {'written'}
end
local replayed = redis.call('HGET', replayed_positions, label) or ''
if redis.call('HEXISTS', keys, label) == 0 then
  return {'released', replayed}
end
local joins_deferred = redis.call('HEXISTS', deferred, label) == 1
local length = redis.call('ZCARD', entries)
local events, size = totals()
local more, bytes = 0, 0
local reply = {'written'}
for i = 8, #ARGV - 1, 2 do
  local position, document = ARGV[i], ARGV[i + 1]
  local known = redis.call('HGET', documents, position)
  local outcome = 1
  if known then
    outcome = state_of(known)
  elseif is_reached(position, replayed) then
    outcome = 0
  else
    refused = length + more >= tonumber(ARGV[5]) and 'long'
      or overflow(events + more, size + bytes, document, joins_deferred)
    if refused then
      if #reply == 1 then
        reply = {refused}
      end
      break
    end
    redis.call('ZADD', entries, 0, position)
    redis.call('HSET', documents, position, document)
    more, bytes = more + 1, bytes + #document - 1
  end
  reply[#reply + 1] = outcome
end
if more > 0 then
  add_totals(more, bytes)
end
count_write()
return reply
