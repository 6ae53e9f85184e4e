-- Acquire or renew the lease on the outbox and return its oldest entries; release it if empty.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] claim     string: "<microseconds at which the lease expires> <token>"
-- ARGV[4] token     ARGV[5] lease, microseconds   ARGV[6] greatest number of entries
-- Returns {microseconds until another deliverer's lease expires or '', entries of the stream}

-- include common
-- include moves

local claim = redis.call('GET', KEYS[10])
if claim then
  local ends, token = string.match(claim, '^(%d+) (.*)$')
  if token ~= ARGV[4] and tonumber(ends) > now then
    return { integer_text(tonumber(ends) - now), {} }
  end
end
local entries = redis.call('XRANGE', KEYS[7], '-', '+', 'COUNT', ARGV[6])
if #entries == 0 then
  redis.call('DEL', KEYS[10])
else
  local lease = tonumber(ARGV[5])
  redis.call('SET', KEYS[10], integer_text(now + lease) .. ' ' .. ARGV[4], 'PX',
    math.ceil(lease / 1000) + SLACK_MS)
end
return { '', entries }
