-- Remove a published alert; if the claim is still ours, extend it.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] claim     string: "<microseconds at which it ends> <token>"
-- ARGV[4] token     ARGV[5] lease, microseconds   ARGV[6] stream entry
-- Returns how many were removed

-- include common
-- include moves

local claim = redis.call('GET', KEYS[10])
if claim and string.match(claim, '^%d+ (.*)$') == ARGV[4] then
  local lease = tonumber(ARGV[5])
  redis.call('SET', KEYS[10], whole(now + lease) .. ' ' .. ARGV[4], 'PX',
    math.ceil(lease / 1000) + SLACK_MS)
end
return redis.call('XDEL', KEYS[7], ARGV[6])
