-- Returns lists of one partition, each with its first entry.
--
-- KEYS[1]  hash of keys with a list: label -> when the list was created, microseconds since 1970
-- KEYS[2]  hash: label -> time of the last try, microseconds since 1970, a blank, JSON of a deferral
-- KEYS[3]  sorted set: label by the time of the next replay, microseconds since 1970
-- KEYS[4]  sorted set: label by the time of the deferral, microseconds since 1970
-- ARGV[1]  "1": with the documents of poisoned entries
-- ARGV[2]  label of a list, and so on
-- Returns for each label: false if there is no such list, or the time of its creation, the number of
-- its entries, the position of the first entry ("" without entries), its kind and perhaps its document,
-- the deferral ("" if the list is not deferred), the time of the deferral and of the next replay.
local prefix = KEYS[1]:sub(1, -5)  -- without "keys"
local heads = {}
for i = 2, #ARGV do
  local label = ARGV[i]
  local entries, documents = prefix .. 'entries:' .. label, prefix .. 'documents:' .. label
  local created = redis.call('HGET', KEYS[1], label)
  if created then
    local position = redis.call('ZRANGE', entries, 0, 0)[1] or ''
    local document = redis.call('HGET', documents, position) or ''
    local deferral = redis.call('HGET', KEYS[2], label) or ''
    if ARGV[1] ~= '1' or deferral ~= '' or document:sub(1, 1) == 'E' then
      document = document:sub(1, 1)
    end
    heads[#heads + 1] = {
      created,
      redis.call('ZCARD', entries),
      position,
      document,
      deferral,
      redis.call('ZSCORE', KEYS[4], label) or '',
      redis.call('ZSCORE', KEYS[3], label) or '',
    }
  else
    heads[#heads + 1] = false
  end
end
return heads
