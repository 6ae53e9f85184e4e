-- The registered callbacks, and entries of the history with a generation and a time of their own.
-- KEYS[10] approvals  hash: "<generation> <url>" -> "<due, microseconds> <failed attempts>
--                     <registered, microseconds> <approval | start> <run>"; a value of an earlier
--                     version has the first two parts only

local FRESH_US = 3600000000  -- FRESH_SECONDS in breaker/chain.py

local function callbacks()
  local found = {}
  local registered = redis.call('HGETALL', KEYS[10])
  for i = 1, #registered, 2 do
    local generation, url = string.match(registered[i], '^(%d+) (.*)$')
    local due, attempts, rest = string.match(registered[i + 1], '^(%d+) (%d+)(.*)$')
    local at, waits_for, run = string.match(rest, '^ (%d+) (%a+) (.*)$')
    found[#found + 1] = { field = registered[i], generation = generation, url = url, due = due,
      attempts = attempts, registered = at or '0', waits_for = waits_for or 'approval',
      run = run or '' }
  end
  return found
end

-- Return whether the callback's run still waits: a run registers again each half hour.
local function is_fresh(callback)
  return callback.run == '' or now - tonumber(callback.registered) <= FRESH_US
end

local function set_callback(callback)
  redis.call('HSET', KEYS[10], callback.field, callback.due .. ' ' .. callback.attempts .. ' '
    .. callback.registered .. ' ' .. callback.waits_for .. ' ' .. callback.run)
end

-- Return the latest generation that needs no approval any more.
local function passed()
  local waits = circuit.state == 'open' or circuit.state == 'isolated'
  return circuit.generation - (waits and 1 or 0)
end

local function note_at(event, generation, by, at_us, reason)
  redis.call('XADD', KEYS[8], 'MAXLEN', rule(9), '*', 'event', event, 'generation', generation,
    'by', by, 'at_us', at_us, 'reason', reason, 'instance', ARGV[3],
    'stops_app', circuit.stops_app)
end
