-- Give a permit: always when closed, one of the free leases when half-open, never otherwise.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] probe id under which a lease is taken (repeating it is harmless)
-- Returns {reply, microseconds until a lease ends or ''}; outcome: granted | refused

-- include common
-- include moves

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
local taken = redis.call('ZCARD', KEYS[5]) + redis.call('SCARD', KEYS[6])
if taken < rule(7) or redis.call('ZSCORE', KEYS[5], ARGV[4]) then
  redis.call('ZADD', KEYS[5], whole(now + rule(8)), ARGV[4])
  redis.call('PEXPIRE', KEYS[5], PROBES_MS)
  return answer('granted', '')
end
local first = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
return answer('refused', first[2] and whole(first[2] - now) or '')
