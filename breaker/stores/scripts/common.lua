-- Put in front of every script of a circuit. One circuit's keys share the hash tag {name}.
-- KEYS[1] circuit    hash: state, generation, opened_at_us, changed_at_us, resume_at_us, break_us,
--                    reason, by
-- KEYS[2] window     sorted set: failure id -> microseconds of its recording
-- KEYS[3] samples    hash of at most 5: slot -> "<microseconds> <failures then> <error>"
-- KEYS[4] successes  hash: bucket number -> successes (only with a ratio rule)
-- KEYS[5] probes     sorted set: probe id -> microseconds at which its lease ends
-- KEYS[6] probed     set: ids of the probes that succeeded
-- KEYS[7] outbox     stream: alerts not yet published
-- KEYS[8] history    stream: event, generation, by, at_us, reason, instance
-- KEYS[9] changes    channel: the new state at each transition
-- ARGV[1] now, microseconds; empty: the server's TIME
-- ARGV[2] the rules, separated by blanks: failure threshold (failures), window (microseconds),
--         failure ratio (0..1; 0: no rule), minimum throughput (outcomes), break (microseconds;
--         0: manual), longest break (microseconds), half-open permits (probes), lease of a permit
--         (microseconds), history limit (entries), outbox limit (entries)
-- ARGV[3] instance, text
-- Returns (by `reply`) one text, since a client reads one value much faster than a list:
-- "outcome transitions state generation opened_at_us changed_at_us resume_at_us failures
-- successes probe_successes now_us bytes_of_reason reason" and, right behind it, by.

local BUCKETS = 10
local SLACK_MS = 60000
local PROBES_MS = 604800000

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local threshold, window_us, ratio = string.match(ARGV[2], '^(%S+) (%S+) (%S+)')
threshold, window_us, ratio = tonumber(threshold), tonumber(window_us), tonumber(ratio)
local after = now - window_us
local window_ttl_ms = math.ceil(window_us / 1000) + SLACK_MS
local transitions = 0

local stored = redis.call('HMGET', KEYS[1], 'state', 'generation', 'opened_at_us', 'changed_at_us',
  'resume_at_us', 'break_us', 'reason', 'by')
local circuit = {
  state = stored[1] or 'closed', generation = tonumber(stored[2] or 0),
  opened_at_us = stored[3] or '0', changed_at_us = stored[4] or '0',
  resume_at_us = stored[5] or '0', break_us = stored[6] or '0',
  reason = stored[7] or '', by = stored[8] or '',
}

-- tostring() would round microseconds to 14 digits.
local function whole(number)
  return string.format('%.0f', number)
end

-- The rules that few calls need.
local function rule(index)
  local position = 0
  for value in string.gmatch(ARGV[2], '%S+') do
    position = position + 1
    if position == index then
      return tonumber(value)
    end
  end
end

local function bucket_us()
  return math.max(1, math.floor(window_us / BUCKETS))
end

local function successes()
  if ratio == 0 then
    return 0
  end
  local total, oldest = 0, math.floor(after / bucket_us())
  local buckets = redis.call('HGETALL', KEYS[4])
  for i = 1, #buckets, 2 do
    if tonumber(buckets[i]) > oldest then
      total = total + tonumber(buckets[i + 1])
    end
  end
  return total
end

-- `failures`: how many are in the window, where the caller knows.
local function reply(outcome, failures)
  failures = failures or redis.call('ZCOUNT', KEYS[2], '(' .. whole(after), '+inf')
  local probed = 0
  if circuit.state == 'half_open' then
    probed = redis.call('SCARD', KEYS[6])
  end
  return string.format('%s %d %s %d %s %s %s %d %d %d %.0f %d ', outcome, transitions,
    circuit.state, circuit.generation, circuit.opened_at_us, circuit.changed_at_us,
    circuit.resume_at_us, failures, successes(), probed, now, #circuit.reason)
    .. circuit.reason .. circuit.by
end

-- What moves the circuit; made only when needed, since most calls move nothing.
local function mover()
  local it = {}

  local function errors()
    local samples, texts = {}, {}
    for _, sample in ipairs(redis.call('HVALS', KEYS[3])) do
      local at, count, text = string.match(sample, '^(%d+) (%d+) (.*)$')
      if tonumber(at) > after then
        samples[#samples + 1] = { tonumber(at), tonumber(count), text }
      end
    end
    table.sort(samples, function(one, other)
      if one[1] ~= other[1] then
        return one[1] > other[1]
      end
      return one[2] > other[2]
    end)
    for index, sample in ipairs(samples) do
      texts[index] = sample[3]
    end
    return #texts > 0 and cjson.encode(texts) or '[]'
  end

  function it.note(event, by, reason)
    redis.call('XADD', KEYS[8], 'MAXLEN', rule(9), '*', 'event', event,
      'generation', whole(circuit.generation), 'by', by, 'at_us', whole(now), 'reason', reason,
      'instance', ARGV[3])
  end

  -- Writes the new state, its history entry, its alert (if any) and its push, all or nothing.
  function it.move(to, event, alert, reason)
    circuit = to
    transitions = transitions + 1
    redis.call('HSET', KEYS[1], 'state', to.state, 'generation', whole(to.generation),
      'opened_at_us', to.opened_at_us, 'changed_at_us', to.changed_at_us,
      'resume_at_us', to.resume_at_us, 'break_us', to.break_us, 'reason', to.reason,
      'by', to.by)
    redis.call('DEL', KEYS[5], KEYS[6])
    it.note(event, to.by, reason or to.reason)
    if alert then
      redis.call('XADD', KEYS[7], 'MAXLEN', rule(10), '*', 'event', alert,
        'generation', whole(to.generation), 'at_us', to.changed_at_us,
        'failures', redis.call('ZCOUNT', KEYS[2], '(' .. whole(after), '+inf'),
        'successes', whole(successes()), 'failure_threshold', whole(threshold),
        'window_us', whole(window_us), 'errors', errors(), 'reason', to.reason, 'by', to.by,
        'instance', ARGV[3])
    end
    redis.call('PUBLISH', KEYS[9], reply('done'))
  end

  function it.open(reason)
    local break_us = rule(5)
    if break_us > 0 and circuit.state == 'half_open' and circuit.break_us ~= '0' then
      break_us = math.min(tonumber(circuit.break_us) * 2, rule(6))
    end
    it.move({
      state = 'open', generation = circuit.generation + 1, opened_at_us = whole(now),
      changed_at_us = whole(now), resume_at_us = break_us > 0 and whole(now + break_us) or '0',
      break_us = whole(break_us), reason = reason, by = '',
    }, 'opened', 'opened')
  end

  function it.half_open(reason, by)
    it.move({
      state = 'half_open', generation = circuit.generation, opened_at_us = circuit.opened_at_us,
      changed_at_us = whole(now), resume_at_us = '0', break_us = circuit.break_us,
      reason = reason, by = by,
    }, 'half_opened', 'half_opened')
  end

  function it.close(reason, by)
    redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
    it.move({
      state = 'closed', generation = circuit.generation, opened_at_us = circuit.opened_at_us,
      changed_at_us = whole(now), resume_at_us = '0', break_us = '0', reason = reason, by = by,
    }, 'closed', 'closed')
  end

  return it
end

-- The timer: whoever comes first after the break makes the transition.
if circuit.state == 'open' and circuit.resume_at_us ~= '0'
  and tonumber(circuit.resume_at_us) <= now then
  mover().half_open('the break is over', 'timer')
end
