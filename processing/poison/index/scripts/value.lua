-- An entry's value: eight texts, each behind its length in four bytes. They are the generation in
-- which the entry was last put, the comparison that holds its message or "", the receipt, the members
-- of the sorted sets `order`, `keys` and `ids`, the cause, and the compressed entry.
local FIELDS = {'generation', 'holder', 'receipt', 'order', 'key', 'id', 'cause', 'data'}
local FORM = '>' .. string.rep('I4c0', #FIELDS)
local function unpacked(value)
  local texts = {struct.unpack(FORM, value)}
  local entry = {}
  for index, field in ipairs(FIELDS) do
    entry[field] = texts[index]
  end
  return entry
end
local function packed(entry)
  local parts = {}
  for _, field in ipairs(FIELDS) do
    parts[#parts + 1] = #entry[field]
    parts[#parts + 1] = entry[field]
  end
  return struct.pack(FORM, unpack(parts))
end
local function now()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end
