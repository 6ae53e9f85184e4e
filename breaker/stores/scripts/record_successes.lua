-- Count successes in a bucket (CLOSED, ratio rule) or one successful probe (HALF_OPEN).
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] reports  sorted set of at most 10,000: report id -> microseconds of its recording
-- KEYS[11] probe keys, see probe_keys.lua
-- ARGV[4] successes, events   ARGV[5] generation of the permit
-- ARGV[6] probe id, empty outside HALF_OPEN   ARGV[7] report id; a repeated id counts nothing
-- ARGV[8] the probe's key, empty if unknown
-- Outcome: done | ignored

-- include common
-- include moves
-- include probe_keys

local REPORTS = 10000

if tonumber(ARGV[5]) ~= circuit.generation then
  return reply('ignored')
end
if circuit.state == 'half_open' and ARGV[6] ~= '' then
  redis.call('ZREM', KEYS[5], ARGV[6])
  begin_probe_keys(KEYS[11])
  if redis.call('SADD', KEYS[6], ARGV[6]) == 1 and ARGV[8] ~= '' then
    redis.call('HINCRBY', KEYS[11], 's' .. ARGV[8], 1)
  end
  redis.call('PEXPIRE', KEYS[6], PROBES_MS)
  local probed = redis.call('SCARD', KEYS[6])
  if probed >= rule(7) then
    mover().close(integer_text(probed) .. ' probes succeeded', '')
  end
  return reply('done')
end
if circuit.state == 'closed' and ratio > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[10], '-inf', after_us)
  if redis.call('ZADD', KEYS[10], 'NX', now_us, ARGV[7]) == 0 then
    return reply('done')
  end
  redis.call('ZREMRANGEBYRANK', KEYS[10], 0, -REPORTS - 1)
  redis.call('PEXPIRE', KEYS[10], math.ceil(window_us / 1000) + SLACK_MS)
  redis.call('HINCRBY', KEYS[4], integer_text(math.floor(now / bucket_us())), ARGV[4])
  redis.call('PEXPIRE', KEYS[4], math.ceil(window_us / 1000) + SLACK_MS)
  if redis.call('HLEN', KEYS[4]) > BUCKETS then
    local oldest = math.floor(tonumber(after_us) / bucket_us())
    for _, bucket in ipairs(redis.call('HKEYS', KEYS[4])) do
      if tonumber(bucket) <= oldest then
        redis.call('HDEL', KEYS[4], bucket)
      end
    end
  end
  return reply('done')
end
return reply('ignored')
