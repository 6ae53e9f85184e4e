-- Removes entries.
--
-- KEYS     hash entries: value by name; sorted sets order, keys, ids: see `value.lua`; hash causes:
--          number of entries; hash state: see `state.lua`
-- ARGV     the entries' names
-- include value
-- include remove_one
for _, name in ipairs(ARGV) do
  remove(name)
end
return 1
