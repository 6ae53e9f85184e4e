-- An entry's value: seven texts, each behind its length in four bytes. They are the generation in
-- which the entry was last put, the receipt, the members of the sorted sets `order`, `keys` and
-- `ids`, the cause, and the compressed entry.
local PARTS = '>I4c0I4c0I4c0I4c0I4c0I4c0I4c0'
local function unpacked(value)
  local generation, receipt, order, key, id, cause, data = struct.unpack(PARTS, value)
  return {generation = generation, receipt = receipt, order = order, key = key, id = id,
    cause = cause, data = data}
end
local function packed(entry)
  local generation, receipt = entry.generation, entry.receipt
  local order, key, id, cause, data = entry.order, entry.key, entry.id, entry.cause, entry.data
  return struct.pack(PARTS, #generation, generation, #receipt, receipt, #order, order, #key, key,
    #id, id, #cause, cause, #data, data)
end
local function now()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end
