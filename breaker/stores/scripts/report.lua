-- Note an instance's events, judge the standstill rule, and return the current state.
-- KEYS[1..9], ARGV[1..3] see common.lua; KEYS[10..11] see standstill.lua
-- KEYS[12] reports  sorted set of at most 10,000: report id -> microseconds of its recording
-- ARGV[4] report id; its failed attempts count once
-- ARGV[5] age of the latest success and longest successful call, microseconds, separated by a
--         blank; empty: no event succeeded
-- ARGV[6] failed attempts since that success and age of the first, microseconds, separated by a
--         blank   ARGV[7] generation of the attempts
-- ARGV[8] tokens of the attempts' keys, separated by blanks   ARGV[9] last error, text
-- ARGV[10] tokens of keys whose events run, separated by blanks
-- KEYS[13] instances, KEYS[14] settings: see register.lua
-- ARGV[11] settings of the instance that polls; empty, or absent in poll.lua: registers nothing

-- include common
-- include moves
-- include standstill
-- include refusal
-- include register

local refused = refusal(KEYS[2])
if refused then
  return 'no_writes ' .. #refused .. ' ' .. refused .. ' ' .. reply('ignored')
end

register(KEYS[13], KEYS[14], now_us, ARGV[3], ARGV[11] or '')

local REPORTS = 10000
local RUNNING_MS = 60000

if ARGV[10] ~= '' then
  for token in string.gmatch(ARGV[10], '%S+') do
    redis.call('ZADD', KEYS[11], now_us, token)
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[11], '-inf', integer_text(now - rule(12)))
  redis.call('ZREMRANGEBYSCORE', KEYS[11], '(' .. now_us, '+inf')  -- the clock was set back
  redis.call('PEXPIRE', KEYS[11], math.max(RUNNING_MS, math.ceil(rule(12) / 1000)))
end
local before_us = success_us
if tonumber(success_us) > now or (success_us == '0' and ARGV[5] == '') then
  success_us = now_us  -- the clock was set back, or unknown
end

local function add_success(age, longest_us)
  local at = now - tonumber(age)
  local at_us = integer_text(at)
  success_us = tonumber(success_us) > at and success_us or at_us
  if attempts > 0 and at >= attempts_us then  -- else all attempts failed after this success
    attempts = 0
    redis.call('HSET', KEYS[1], 'attempts', '0')
  end
  local minute = integer_text(math.floor(at / MINUTE_US))
  local noted = redis.call('HMGET', KEYS[10], minute)[1]
  if noted then
    local reports, first, last, longest = string.match(noted, '^(%d+) (%d+) (%d+) (%d+)$')
    noted = integer_text(tonumber(reports) + 1) .. ' '
      .. integer_text(math.min(tonumber(first), at)) .. ' '
      .. integer_text(math.max(tonumber(last), at)) .. ' '
      .. integer_text(math.max(tonumber(longest), tonumber(longest_us)))
  else
    for _, other in ipairs(redis.call('HKEYS', KEYS[10])) do
      if math.abs(math.floor(now / MINUTE_US) - tonumber(other)) > PACE_US / MINUTE_US then
        redis.call('HDEL', KEYS[10], other)
      end
    end
    noted = '1 ' .. at_us .. ' ' .. at_us .. ' ' .. longest_us
  end
  redis.call('HSET', KEYS[10], minute, noted)
  redis.call('PEXPIRE', KEYS[10], 2 * PACE_US / 1000)
end

if ARGV[5] ~= '' then
  add_success(string.match(ARGV[5], '^(%d+) (%d+)$'))
end
if success_us ~= before_us then
  redis.call('HSET', KEYS[1], 'success_us', success_us)
end

local failed, failed_age = string.match(ARGV[6], '^(%d+) (%d+)$')

local function add_attempts()
  redis.call('ZREMRANGEBYSCORE', KEYS[12], '-inf', after_us)
  if redis.call('ZADD', KEYS[12], 'NX', now_us, ARGV[4]) == 0 then
    return
  end
  redis.call('ZREMRANGEBYRANK', KEYS[12], 0, -REPORTS - 1)
  redis.call('PEXPIRE', KEYS[12], math.ceil(window_us / 1000) + SLACK_MS)
  local keys, known, number = {}, {}, 0
  local earlier = attempts > 0 and redis.call('HMGET', KEYS[1], 'attempt_keys')[1] or ''
  for token in string.gmatch(earlier .. ' ' .. ARGV[8], '%S+') do
    if not known[token] and number < STANDSTILL_KEYS then
      known[token], number = true, number + 1
      keys[number] = token
    end
  end
  local first = math.max(now - tonumber(failed_age), tonumber(success_us))
  attempts_us = attempts > 0 and math.min(attempts_us, first) or first
  attempts = attempts + tonumber(failed)
  redis.call('HSET', KEYS[1], 'attempts', integer_text(attempts), 'attempts_generation', ARGV[7],
    'attempts_at_us', integer_text(attempts_us), 'attempts_last_us', now_us,
    'attempt_keys', table.concat(keys, ' '),
    'attempt_error', ARGV[9])
end

if failed ~= '0' and circuit.state == 'closed' and tonumber(ARGV[7]) == circuit.generation then
  add_attempts()
end
judge_standstill()
return reply('done')
