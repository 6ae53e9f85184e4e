-- The standstill rule, as in breaker/standstill.py; judged when a script polls or records a failure.
-- KEYS[10] pace     hash: minute -> "<reports with a success> <first> <last> <longest call>", all
--                   times in microseconds
-- KEYS[11] running  sorted set: token of a key -> microseconds of the last report that it runs
-- The fields of KEYS[1]: attempts (failed attempts since the last success), attempts_generation
-- (the circuit's at that time), attempts_at_us (of the first), attempt_keys (at most 10 tokens,
-- separated by blanks; one that ends in '*' counts as two keys), attempt_error (of the last),
-- attempts_last_us (time of the last report of attempts), success_us (of the last success)

local MINUTE_US = 60000000
local PACE_US = 3600000000
local QUIET_MAX_US = 600000000
local STANDSTILL_KEYS = 10
local KNOWN_GAPS = 10

-- Return the time without a success that the rule requires, in microseconds.
local function quiet_us()
  local success = tonumber(success_us)
  local count, first, last, longest = 0, nil, 0, 0
  local minutes = redis.call('HVALS', KEYS[10])
  for _, minute in ipairs(minutes) do
    local reports, first_us, last_us, longest_us =
      string.match(minute, '^(%d+) (%d+) (%d+) (%d+)$')
    first_us = tonumber(first_us)
    if success - PACE_US <= first_us and first_us <= success then
      count = count + tonumber(reports)
      first = math.min(first or first_us, first_us)
      last = math.max(last, tonumber(last_us))
      longest = math.max(longest, tonumber(longest_us))
    end
  end
  local gaps, span = math.max(1, count) - 1, last - (first or 0)
  if gaps < KNOWN_GAPS then
    gaps, span = gaps + 1, span + window_us
  end
  local usual_gaps = math.min(math.floor(10 * span / gaps), QUIET_MAX_US)
  return math.max(window_us, usual_gaps, 2 * longest)
end

-- Return the tokens of at most two keys whose events run anywhere. A report of the future does not
-- count: the clock was set back since.
local function running_keys()
  local fresh = string.format('(%.0f', now - rule(12))
  return redis.call('ZRANGE', KEYS[11], fresh, now_us, 'BYSCORE', 'LIMIT', 0, 2)
end

-- Open the closed circuit if the rule is met.
local function judge_standstill()
  local limit = rule(11)
  if circuit.state ~= 'closed' or limit == 0 or attempts < limit or success_us == '0'
    or now - attempts_us < window_us or now - tonumber(success_us) < window_us then
    return
  end
  local texts = redis.call('HMGET', KEYS[1], 'attempt_keys', 'attempt_error', 'attempts_last_us')
  local keys, several = 0, false
  for token in string.gmatch(texts[1] or '', '%S+') do
    keys = keys + 1
    several = several or keys > 1 or string.sub(token, -1) == '*'
  end
  local running = running_keys()
  if #running == 0 or now - tonumber(texts[3] or 0) > window_us then
    return  -- silence is no standstill
  end
  if not several and (running[2] or running[1] ~= texts[1]) then
    return  -- another key runs
  end
  local quiet = now - tonumber(success_us)
  if quiet < quiet_us() then
    return
  end
  local named = keys .. (keys == 1 and ' key' or ' keys')
  if keys >= STANDSTILL_KEYS then
    named = 'at least ' .. STANDSTILL_KEYS .. ' keys'
  end
  local last = (texts[2] or '') ~= '' and '; last error: ' .. texts[2] or ''
  mover().open('no event has succeeded for ' .. integer_text(math.floor(quiet / 1000000)) .. ' s; '
    .. integer_text(attempts) .. ' attempts of ' .. named .. ' failed' .. last)
end
