-- Removes the entries of a range that were not put in a comparison. Returns how many, and the last
-- member of the range or "" at the end; -1 if another comparison has begun, or the index was lost.
--
-- KEYS     hash entries: value by name; sorted sets order, keys, ids: see `value.lua`; hash causes:
--          number of entries; hash state: see `state.lua`
-- ARGV[1]  the comparison's generation
-- ARGV[2]  the least member of order, as ZRANGEBYLEX takes it
-- ARGV[3]  the most members to look at
-- ARGV[4]  a pattern for the name in a member
-- include value
-- include remove_one
if redis.call('HGET', KEYS[6], 'generation') ~= ARGV[1] then
  return {-1, ''}
end
local members = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], '+', 'LIMIT', 0, ARGV[3])
local removed = 0
for _, member in ipairs(members) do
  local name = string.match(member, ARGV[4])
  local value = redis.call('HGET', KEYS[1], name)
  if value and unpacked(value).generation ~= ARGV[1] then
    remove(name)
    removed = removed + 1
  end
end
return {removed, #members == tonumber(ARGV[3]) and members[#members] or ''}
