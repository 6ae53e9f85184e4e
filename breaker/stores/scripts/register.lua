-- Note that an instance polls, and its settings; a later poll with the same settings within
-- REGISTER_US changes nothing.
-- instances  sorted set of at most 1,000: name of an instance -> microseconds of its last note
-- settings   hash: name of an instance -> its settings, JSON (breaker/registration.py)
-- text       the settings; empty: the caller is no instance of the app and registers nothing
local function register(instances, settings, at_us, instance, text)
  local REGISTER_US, INSTANCE_US = 5e6, 86400e6
  local INSTANCES, KEPT_MS = 1000, 90 * 86400e3
  if text == '' then
    return
  end
  local at = tonumber(at_us)
  local age = at - tonumber(redis.call('ZSCORE', instances, instance) or 0)
  if age >= 0 and age < REGISTER_US
    and redis.call('HMGET', settings, instance)[1] == text then
    return
  end
  redis.call('ZADD', instances, at_us, instance)
  redis.call('HSET', settings, instance, text)
  local old = redis.call('ZRANGE', instances, 0, -INSTANCES - 1)
  local before = string.format('(%.0f', at - INSTANCE_US)
  for _, name in ipairs(redis.call('ZRANGE', instances, '-inf', before, 'BYSCORE')) do
    old[#old + 1] = name
  end
  for _, name in ipairs(old) do
    redis.call('ZREM', instances, name)
    redis.call('HDEL', settings, name)
  end
  redis.call('PEXPIRE', instances, string.format('%.0f', KEPT_MS))
  redis.call('PEXPIRE', settings, string.format('%.0f', KEPT_MS))
end
