-- Returns the values of a range of entries, and the last member of the range if there are more.
--
-- KEYS[1]  hash entries: value by name, see `value.lua`
-- KEYS[2]  sorted set whose members end with the names
-- ARGV[1]  the least member, as ZRANGEBYLEX takes it
-- ARGV[2]  the greatest member, likewise
-- ARGV[3]  the most entries
-- ARGV[4]  a pattern for the name in a member
-- ARGV[5]  a generation whose entries are left out, or ""
-- ARGV[6]  a comparison, to return only the entries whose messages it holds, or ""
-- include value
local members = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3] + 1)
local found = {''}
if #members > tonumber(ARGV[3]) then
  members[#members] = nil
  found[1] = members[#members]
end
for _, member in ipairs(members) do
  local name = string.match(member, ARGV[4])
  local value = name and redis.call('HGET', KEYS[1], name)
  if value then
    local entry = unpacked(value)
    local wanted = ARGV[5] == '' or entry.generation ~= ARGV[5]
    if wanted and (ARGV[6] == '' or entry.holder == ARGV[6]) then
      found[#found + 1] = name
      found[#found + 1] = entry.receipt
      found[#found + 1] = entry.data
    end
  end
end
return found
