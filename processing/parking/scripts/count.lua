-- Returns the events and the bytes of all lists, entry by entry.
local function count(keys)
  local prefix = keys:sub(1, -5)  -- without "keys"
  local events, size = 0, 0
  for _, label in ipairs(redis.call('HKEYS', keys)) do
    local documents = prefix .. 'documents:' .. label
    for _, position in ipairs(redis.call('ZRANGE', prefix .. 'entries:' .. label, 0, -1)) do
      events = events + 1
      size = size + math.max(0, redis.call('HSTRLEN', documents, position) - 1)
    end
  end
  return string.format('%.0f', events), string.format('%.0f', size)
end
