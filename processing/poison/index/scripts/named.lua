-- Returns the names, receipts and compressed forms of the entries that exist.
--
-- KEYS[1]  hash entries: value by name, see `value.lua`
-- ARGV     the names
-- include value
local found = {''}
for _, name in ipairs(ARGV) do
  local value = redis.call('HGET', KEYS[1], name)
  if value then
    local entry = unpacked(value)
    found[#found + 1] = name
    found[#found + 1] = entry.receipt
    found[#found + 1] = entry.data
  end
end
return found
