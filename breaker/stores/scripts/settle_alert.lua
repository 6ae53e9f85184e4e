-- Remove a published alert; renew the lease if the token still holds it.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] claim     string: "<microseconds at which the lease expires> <token>"
-- ARGV[4] token     ARGV[5] lease, microseconds   ARGV[6] stream entry
-- Returns the number of removed alerts

-- include common
-- include moves

local claim = redis.call('GET', KEYS[10])
if claim and string.match(claim, '^%d+ (.*)$') == ARGV[4] then
  local lease = tonumber(ARGV[5])
  redis.call('SET', KEYS[10], integer_text(now + lease) .. ' ' .. ARGV[4], 'PX',
    math.ceil(lease / 1000) + SLACK_MS)
end
return redis.call('XDEL', KEYS[7], ARGV[6])
