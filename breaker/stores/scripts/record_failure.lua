-- Count one failure, once per id, and open the circuit if a rule is met.
-- KEYS[1..9], ARGV[1..3] see common.lua; KEYS[10..11] see standstill.lua
-- KEYS[12] probe keys, see probe_keys.lua
-- ARGV[4] failure id; a repeat counts once, at its latest time   ARGV[5] error, text
-- ARGV[6] generation of the permit   ARGV[7] probe id, empty outside HALF_OPEN
-- ARGV[8] the probe's key, empty if unknown
-- Outcome: done | ignored

-- include common

-- A circuit whose break is over is half-open: moves.lua makes the transition below.
local break_over = circuit.state == 'open' and circuit.resume_at_us ~= '0'
  and tonumber(circuit.resume_at_us) <= now
local probing = ARGV[7] ~= '' and (circuit.state == 'half_open' or break_over)
local failed
if tonumber(ARGV[6]) == circuit.generation and (probing or circuit.state == 'closed') then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', after_us)
  redis.call('ZADD', KEYS[2], now_us, ARGV[4])
  failed = redis.call('ZCARD', KEYS[2])
  -- The expiry is renewed only when it runs low, which saves a logged and replicated write.
  local window_ms = math.ceil(window_us / 1000)
  if redis.call('PTTL', KEYS[2]) < window_ms + 30000 then
    redis.call('PEXPIRE', KEYS[2], window_ms + 60000)
  end
  redis.call('HSET', KEYS[3], failed % 5, now_us .. ' ' .. failed .. ' ' .. ARGV[5])
  if failed > threshold then
    failed = failed - redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -threshold - 1)
  end
  local old_attempts = attempts > 0 and now - attempts_us >= window_us
  if not probing and failed < threshold and ratio == 0 and not old_attempts then
    return format_reply('done', failed, 0, 0)  -- most failures return here
  end
end

-- include moves
-- include standstill
-- include probe_keys

local PROBE_FAILURES = 3

if not failed and circuit.state == 'closed' and tonumber(ARGV[6]) == circuit.generation then
  -- The timer has just ended an isolation and emptied the window.
  redis.call('ZADD', KEYS[2], now_us, ARGV[4])
  redis.call('PEXPIRE', KEYS[2], math.ceil(window_us / 1000) + SLACK_MS)
  redis.call('HSET', KEYS[3], 1, now_us .. ' 1 ' .. ARGV[5])
  failed = 1
end
if not failed then
  return reply('ignored')
end
local last = ARGV[5] ~= '' and '; last error: ' .. ARGV[5] or ''

-- Count the failed probe. Failures of one key count as one, unless no other key succeeded between
-- two of them, so that one dead key among keys that work does not open the circuit.
local function fail_probe()
  local key = ARGV[8] ~= '' and ARGV[8] or ARGV[7]
  begin_probe_keys(KEYS[12])
  redis.call('ZREM', KEYS[5], ARGV[7])
  local others = redis.call('SCARD', KEYS[6])
    - tonumber(redis.call('HMGET', KEYS[12], 's' .. key)[1] or 0)
  local earlier = redis.call('HMGET', KEYS[12], 'f' .. key)[1] or ''
  local others_then, probe_then = string.match(earlier, '^(%d+) %d+ (.*)$')
  if probe_then == ARGV[7] or (not probe_then and probe_failures >= PROBE_FAILURES) then
    return  -- a repeat; or mode observe, in which further keys would need memory without end
  end
  redis.call('HSET', KEYS[12], 'f' .. key, integer_text(others) .. ' ' .. now_us .. ' '
    .. ARGV[7])
  if not others_then or tonumber(others_then) == others then
    probe_failures = probe_failures + 1
    redis.call('HSET', KEYS[1], 'probe_failures', integer_text(probe_failures))
  end
end

local function seconds()
  return string.format('%g', window_us / 1000000)
end

local total = failed + successes()
if probing then
  fail_probe()
  if probe_failures >= PROBE_FAILURES then
    mover().open(PROBE_FAILURES .. ' probes failed' .. last)
  end
elseif failed >= threshold then
  mover().open(integer_text(failed) .. ' failures within ' .. seconds() .. ' s (threshold '
    .. integer_text(threshold) .. ')' .. last)
elseif ratio > 0 and total >= rule(4) and failed >= ratio * total then
  mover().open(integer_text(failed) .. ' of ' .. integer_text(total) .. ' failed within '
    .. seconds() .. ' s (ratio ' .. string.format('%g', ratio) .. ')' .. last)
else
  judge_standstill()
end
return reply('done')
