-- Returns the number of deferred keys by the dependency that they wait for.
--
-- KEYS[1]  hash: label -> time of the last try, microseconds since 1970, a blank, JSON of a deferral
-- Returns names and numbers in turn; "" stands for the keys whose dependency is not known.
local numbers, reply = {}, {}
for _, deferral in ipairs(redis.call('HVALS', KEYS[1])) do
  -- A quotation mark inside of a text follows a backslash, so no text matches.
  local name = deferral:match('"dependency":"([^"]*)"') or ''
  numbers[name] = (numbers[name] or 0) + 1
end
for name, number in pairs(numbers) do
  reply[#reply + 1] = name
  reply[#reply + 1] = number
end
return reply
