-- Count one failure, once per id, and open the circuit if a rule is met.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] failure id   ARGV[5] error, text
-- ARGV[6] generation of the permit   ARGV[7] probe id, empty outside HALF_OPEN
-- Outcome: done | ignored

-- include common

local probing = circuit.state == 'half_open' and ARGV[7] ~= ''
local failed
if tonumber(ARGV[6]) == circuit.generation and (probing or circuit.state == 'closed') then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', after_us)
  local added = redis.call('ZADD', KEYS[2], 'NX', now_us, ARGV[4])
  failed = redis.call('ZCARD', KEYS[2])
  if added == 1 then
    -- The expiry is renewed only when it runs low, which saves a logged and replicated write.
    local window_ms = math.ceil(window_us / 1000)
    if redis.call('PTTL', KEYS[2]) < window_ms + 30000 then
      redis.call('PEXPIRE', KEYS[2], window_ms + 60000)
    end
    redis.call('HSET', KEYS[3], failed % 5, now_us .. ' ' .. failed .. ' ' .. ARGV[5])
  end
  if not probing and failed < threshold and ratio == 0 then
    return format_reply('done', failed, 0, 0)  -- most failures return here
  end
end

-- include moves

if not failed then
  return reply('ignored')
end
local function seconds()
  return string.format('%g', window_us / 1000000)
end
local total = failed + successes()
local last = ARGV[5] ~= '' and '; last error: ' .. ARGV[5] or ''
if probing then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -threshold - 1)
  mover().open('probe failed: ' .. ARGV[5])
elseif failed >= threshold then
  mover().open(integer_text(failed) .. ' failures within ' .. seconds() .. ' s (threshold '
    .. integer_text(threshold) .. ')' .. last)
elseif ratio > 0 and total >= rule(4) and failed >= ratio * total then
  mover().open(integer_text(failed) .. ' of ' .. integer_text(total) .. ' failed within '
    .. seconds() .. ' s (ratio ' .. string.format('%g', ratio) .. ')' .. last)
end
return reply('done')
