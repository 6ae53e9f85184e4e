-- Acquire a permit: granted in CLOSED, a lease if one is free in HALF_OPEN, refused otherwise.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] probe keys, see probe_keys.lua
-- ARGV[4] probe id of the lease; a repeated id is harmless   ARGV[5] key, empty if unknown
-- Returns {reply, microseconds until the next lease expires or ''}; outcome: granted | refused

-- include common
-- include moves
-- include probe_keys

local function answer(outcome, wait_us)
  return { reply(outcome), wait_us }
end

if circuit.state == 'closed' then
  return answer('granted', '')
end
if circuit.state ~= 'half_open' then
  return answer('refused', '')
end
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now_us)
begin_probe_keys(KEYS[10])
local key = ARGV[5] ~= '' and ARGV[5] or ARGV[4]
local known = redis.call('HMGET', KEYS[10], 'f' .. key, 'asked')
if not known[1] then
  redis.call('HSET', KEYS[10], 'asked', now_us)
else
  -- A dead key must not use up the failures that the others may have. Other keys have some time to
  -- ask, and those that probe have the time of their lease.
  local failed_at = tonumber(string.match(known[1], '^%d+ (%d+) '))
  local free_at = math.max(failed_at, tonumber(known[2] or 0)) + ASK_US
  local leases = redis.call('ZRANGE', KEYS[5], 0, 1, 'WITHSCORES')
  for i = #leases - 1, 1, -2 do
    if leases[i] ~= ARGV[4] then
      free_at = tonumber(leases[i + 1])
    end
  end
  if free_at > now then
    return answer('refused', integer_text(free_at - now))
  end
end
local taken = redis.call('ZCARD', KEYS[5]) + redis.call('SCARD', KEYS[6])
if taken < rule(7) or redis.call('ZSCORE', KEYS[5], ARGV[4]) then
  redis.call('ZADD', KEYS[5], integer_text(now + rule(8)), ARGV[4])
  redis.call('PEXPIRE', KEYS[5], PROBES_MS)
  return answer('granted', '')
end
local first = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
return answer('refused', first[2] and integer_text(first[2] - now) or '')
