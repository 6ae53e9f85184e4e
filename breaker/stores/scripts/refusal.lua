-- Return the error with which Redis refuses writes, or nil; a read does not show it.
-- ZADD is a write that needs memory. With XX it adds no member, so it changes and replicates
-- nothing, and the key need not exist. A circuit's reply with this error begins with
-- "no_writes bytes_of_error error ".
local function refusal(key)
  local answer = redis.pcall('ZADD', key, 'XX', '0', '')
  return type(answer) == 'table' and answer.err or nil
end
