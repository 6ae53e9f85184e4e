-- Removes an entry. Its first write frees memory, so a full Redis permits the others.
local function remove(name)
  local value = redis.call('HGET', KEYS[1], name)
  if not value then
    return false
  end
  local old = unpacked(value)
  redis.call('HDEL', KEYS[1], name)
  redis.call('ZREM', KEYS[2], old.order)
  redis.call('ZREM', KEYS[3], old.key)
  redis.call('ZREM', KEYS[4], old.id)
  if redis.call('HINCRBY', KEYS[5], old.cause, -1) <= 0 then
    redis.call('HDEL', KEYS[5], old.cause)
  end
  redis.call('HINCRBY', KEYS[6], 'bytes', -#old.data)
  if old.generation == redis.call('HGET', KEYS[6], 'generation') then
    redis.call('HINCRBY', KEYS[6], 'seen', -1)  -- the queue does not have the message any more
  end
  return true
end
