-- Count one failure, once per id, and open the circuit if that is one too many.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] failure id   ARGV[5] error, text
-- ARGV[6] generation of the permit   ARGV[7] probe id, empty outside HALF_OPEN
-- Outcome: done | ignored

local probing = circuit.state == 'half_open' and ARGV[7] ~= ''
if tonumber(ARGV[6]) ~= circuit.generation or not (probing or circuit.state == 'closed') then
  return reply('ignored')
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(after))
local added = redis.call('ZADD', KEYS[2], 'NX', whole(now), ARGV[4])
local failed = redis.call('ZCARD', KEYS[2])
if added == 1 then
  redis.call('PEXPIRE', KEYS[2], window_ttl_ms)
  redis.call('HSET', KEYS[3], failed % 5, string.format('%.0f %d ', now, failed) .. ARGV[5])
end
if probing then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -threshold - 1)
  mover().open('probe failed: ' .. ARGV[5])
  return reply('done')
end
local function seconds()
  return string.format('%g', window_us / 1000000)
end
if failed >= threshold then
  mover().open(whole(failed) .. ' failures within ' .. seconds() .. ' s (threshold '
    .. whole(threshold) .. ')')
elseif ratio > 0 then
  local total = failed + successes()
  if total >= rule(4) and failed >= ratio * total then
    mover().open(whole(failed) .. ' of ' .. whole(total) .. ' failed within ' .. seconds()
      .. ' s (ratio ' .. string.format('%g', ratio) .. ')')
  end
end
return reply('done', transitions == 0 and failed or nil)
