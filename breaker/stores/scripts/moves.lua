-- The transitions of the circuit, and the timer's transition, which each script makes first.
-- KEYS[1..9], ARGV[1..3] see common.lua

local BUCKETS = 10
local SLACK_MS = 60000
local PROBES_MS = 604800000

-- tostring() would round microseconds to 14 digits.
local function integer_text(number)
  return string.format('%.0f', number)
end

-- Return the rule at a position of ARGV[2]; few calls need the rules after the third.
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

local function failures()
  return redis.call('ZCOUNT', KEYS[2], '(' .. after_us, '+inf')
end

local function successes()
  if ratio == 0 then
    return 0
  end
  local total, oldest = 0, math.floor(tonumber(after_us) / bucket_us())
  local buckets = redis.call('HGETALL', KEYS[4])
  for i = 1, #buckets, 2 do
    if tonumber(buckets[i]) > oldest then
      total = total + tonumber(buckets[i + 1])
    end
  end
  return total
end

-- Return '0' if the caller's rules say that an opening does not stop the app, else '1'. An earlier
-- version has no such rule.
local function stops_app()
  return rule(14) == 0 and '0' or '1'
end

-- The reason of a rule that is met in mode observe. A reply that reports the reason begins with
-- "would_open bytes_of_reason reason ".
local would_open = nil

local function reply(outcome)
  local probed = circuit.state == 'half_open' and redis.call('SCARD', KEYS[6]) or 0
  local text = format_reply(outcome, failures(), successes(), probed)
  return would_open and 'would_open ' .. #would_open .. ' ' .. would_open .. ' ' .. text or text
end

-- Return the functions that change the state; created on demand, because few calls change it.
local function mover()
  local functions = {}

  local function errors()
    local samples, texts = {}, {}
    for _, sample in ipairs(redis.call('HVALS', KEYS[3])) do
      local at, count, text = string.match(sample, '^(%d+) (%d+) (.*)$')
      if tonumber(at) > tonumber(after_us) then
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

  function functions.note(event, by, reason, stops)
    redis.call('XADD', KEYS[8], 'MAXLEN', rule(9), '*', 'event', event,
      'generation', integer_text(circuit.generation), 'by', by, 'at_us', now_us, 'reason', reason,
      'instance', ARGV[3], 'stops_app', stops or circuit.stops_app)
  end

  function functions.add_alert(alert, to)
    redis.call('XADD', KEYS[7], 'MAXLEN', rule(10), '*', 'event', alert,
      'generation', integer_text(to.generation), 'at_us', to.changed_at_us,
      'failures', failures(),
      'successes', integer_text(successes()), 'failure_threshold', integer_text(threshold),
      'window_us', integer_text(window_us), 'errors', errors(), 'reason', to.reason, 'by', to.by,
      'instance', ARGV[3], 'resume_at_us', to.resume_at_us, 'ends_as', to.ends_as,
      'stops_app', to.stops_app)
  end

  -- Write the new state with its history entry, alert (if any) and push, in one atomic step.
  function functions.move(to, event, alert, reason)
    if to.generation ~= circuit.generation then
      attempts = 0
    end
    to.stops_app = to.stops_app or circuit.stops_app
    circuit = to
    circuit.ends_as = to.ends_as or '-'
    transitions = transitions + 1
    probe_failures = 0
    if to.state == 'closed' then
      success_us = now_us
    end
    -- First a command that needs no memory: a full Redis takes the further writes of such a script.
    redis.call('DEL', KEYS[5], KEYS[6])
    redis.call('HSET', KEYS[1], 'state', to.state, 'generation', integer_text(to.generation),
      'opened_at_us', to.opened_at_us, 'changed_at_us', to.changed_at_us,
      'resume_at_us', to.resume_at_us, 'break_us', to.break_us, 'reason', to.reason,
      'by', to.by, 'probe_failures', '0', 'success_us', success_us, 'ends_as', to.ends_as,
      'stops_app', to.stops_app)
    functions.note(event, to.by, reason or to.reason)
    if alert then
      functions.add_alert(alert, to)
    end
    -- A user without rights on the channel must not see the written transition as failed; the
    -- other instances poll.
    local dependency = string.match(KEYS[1], '^breaker:{[^}]*}/(.*):circuit$')
    redis.pcall('PUBLISH', KEYS[9], (dependency and dependency .. ' ' or '') .. reply('done'))
  end

  -- Open the circuit in any mode. The opening at an isolation's end has the isolation's stops_app,
  -- because a tool with other rules may make that transition.
  function functions.reopen(reason)
    local break_us = rule(5)
    if break_us > 0 and circuit.state == 'half_open' and circuit.break_us ~= '0' then
      break_us = math.min(tonumber(circuit.break_us) * 2, rule(6))
    end
    functions.move({
      state = 'open', generation = circuit.generation + 1, opened_at_us = now_us,
      changed_at_us = now_us, resume_at_us = break_us > 0 and integer_text(now + break_us) or '0',
      break_us = integer_text(break_us), reason = reason, by = '',
      stops_app = circuit.state ~= 'isolated' and stops_app() or nil,
    }, 'opened', 'opened')
  end

  -- Open the circuit because of a rule. In mode observe the circuit stays as it is, and the reason is
  -- reported once, until no rule has been met for as long as the window.
  function functions.open(reason)
    if rule(13) ~= 1 then
      return functions.reopen(reason)
    end
    local last = tonumber(redis.call('HMGET', KEYS[1], 'ruled_us')[1] or 0)
    redis.call('HSET', KEYS[1], 'ruled_us', now_us)
    if now - last >= window_us then
      would_open = reason
      functions.note('would_open', '', reason, stops_app())
    end
  end

  function functions.half_open(reason, by)
    functions.move({
      state = 'half_open', generation = circuit.generation, opened_at_us = circuit.opened_at_us,
      changed_at_us = now_us, resume_at_us = '0', break_us = circuit.break_us,
      reason = reason, by = by,
    }, 'half_opened', 'half_opened')
  end

  function functions.close(reason, by)
    redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
    functions.move({
      state = 'closed', generation = circuit.generation, opened_at_us = circuit.opened_at_us,
      changed_at_us = now_us, resume_at_us = '0', break_us = '0', reason = reason, by = by,
    }, 'closed', 'closed')
  end

  return functions
end

-- The timer: the first script that runs after a break or an isolation makes the transition.
if circuit.resume_at_us ~= '0' and tonumber(circuit.resume_at_us) <= now then
  if circuit.state == 'open' then
    mover().half_open('the break is over', 'timer')
  elseif circuit.state == 'isolated' and circuit.ends_as == 'closed' then
    mover().close('the isolation by ' .. circuit.by .. ' is over', 'timer')
  elseif circuit.state == 'isolated' then
    mover().reopen('the isolation by ' .. circuit.by
      .. ' is over, and the circuit was not closed before the isolation')
  end
end
