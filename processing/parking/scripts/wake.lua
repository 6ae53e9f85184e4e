-- Makes the keys due that wait for a dependency, once for each state of its circuit. While the circuit
-- is half-open, only the keys with the fewest attempts are due, and a repeat after a while makes the next
-- keys due. The repeat leaves out the keys of earlier wakings whose replays have not ended: their leases
-- may be those of a dead process, and expire minutes later.
--
-- KEYS[1]  hash: wake:<dependency> -> generation, state (1: half-open, 2: closed) and time of the last
--          waking, microseconds since 1970; then the time of the state's first waking, and the number of
--          keys that the state's wakings have made due: their times in KEYS[3] follow the first waking's,
--          one microsecond after another
-- KEYS[2]  hash: label -> time of the last try, microseconds since 1970, a blank, JSON of a deferral
-- KEYS[3]  sorted set: label by the time of the next replay, microseconds since 1970
-- ARGV[1]  name of the dependency
-- ARGV[2]  generation of its circuit
-- ARGV[3]  state of its circuit: 1: half-open, 2: closed
-- ARGV[4]  the most keys to make due if the circuit is half-open
-- ARGV[5]  least time between two wakings by a half-open circuit, microseconds
-- ARGV[6]  age of the last waking from which an earlier state is a circuit whose data was lost,
--          microseconds
-- Returns the number of keys that were made due.
local field, name = 'wake:' .. ARGV[1], ARGV[1]
local generation, state = tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local began, woken = now, 0

local function is_known()
  local known = redis.call('HGET', KEYS[1], field)
  local known_generation, known_state, at, first, number =
    (known or ''):match('^(%d+) (%d) (%d+) (%d+) (%d+)$')
  if not at then
    return false
  end
  local age = now - tonumber(at)
  known_generation, known_state = tonumber(known_generation), tonumber(known_state)
  if generation == known_generation and state == known_state then
    began, woken = tonumber(first), tonumber(number)
    return state == 2 or age < tonumber(ARGV[5])
  end
  local is_later = generation > known_generation
    or (generation == known_generation and state > known_state)
  return not is_later and age < tonumber(ARGV[6])
end

if is_known() then
  return 0
end
redis.call('HDEL', KEYS[1], field)  -- a full Redis permits a write once memory is freed

-- JSON is compact, and in its texts a quotation mark follows a backslash, so no text matches. Decoding
-- ten thousand deferrals would take ten times as long.
local needs = '"dependency":"' .. name .. '"'

local chosen, attempts = {}, {}
local most = state == 1 and tonumber(ARGV[4]) or math.huge

-- Inserts a key behind those with as few attempts; beyond the limit, the last key falls out.
local function insert(label, made)
  local place = #chosen
  while place > 0 and attempts[place] > made do
    place = place - 1
  end
  if place < most then
    table.insert(chosen, place + 1, label)
    table.insert(attempts, place + 1, made)
    chosen[most + 1], attempts[most + 1] = nil, nil
  end
end

local unfinished = {}
if woken > 0 then
  local last = string.format('%.0f', began + woken - 1)
  for _, label in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], string.format('%.0f', began), last)) do
    unfinished[label] = true
  end
end

local found, waiting = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #found, 2 do
  local label, deferral = found[i], found[i + 1]
  if not unfinished[label] and deferral:find(needs, 1, true) then
    waiting[label] = true
    if state == 1 then
      insert(label, tonumber(deferral:match('"attempts":(%d+)') or '0'))
    else
      chosen[#chosen + 1] = label
    end
  end
end
if state == 1 then
  -- The other keys must not take the permits of these.
  local later = string.format('%.0f', now + tonumber(ARGV[5]))
  local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now))
  for _, label in ipairs(due) do
    if waiting[label] then
      redis.call('ZADD', KEYS[3], later, label)
    end
  end
end
local made = string.format('%d %d %.0f %.0f %d', generation, state, now, began, woken + #chosen)
redis.call('HSET', KEYS[1], field, made)
for first = 1, #chosen, 1000 do  -- unpack has a limit
  local pairs_of = {}
  for i = first, math.min(first + 999, #chosen) do
    -- Behind the keys that are due already, and in this order.
    pairs_of[#pairs_of + 1] = string.format('%.0f', began + woken + i - 1)
    pairs_of[#pairs_of + 1] = chosen[i]
  end
  redis.call('ZADD', KEYS[3], 'XX', unpack(pairs_of))  -- a key without a replay gets none
end
return #chosen
