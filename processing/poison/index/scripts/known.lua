-- What is known of the index. The hash `state` has: generation, which names the latest comparison;
-- until, when a running comparison counts as abandoned; seen, the number of messages that it has
-- found and that were not removed since; began and built, when the latest one began and when one ended; took, its seconds; others,
-- unreadable and held, the messages that it did not index, and of_others, the sum of others; bytes, the
-- size of all entries; differs, since when the queue has another number of messages. Times are seconds
-- since 1970.
local function known()
  local state = {}
  local flat = redis.call('HGETALL', KEYS[6])
  for index = 1, #flat, 2 do
    state[flat[index]] = flat[index + 1]
  end
  local entries = redis.call('HLEN', KEYS[1])
  local counts = {0}
  for _, number in ipairs(redis.call('HVALS', KEYS[5])) do
    counts[1] = counts[1] + number
  end
  for index = 2, 4 do
    counts[index] = redis.call('ZCARD', KEYS[index])
  end
  for _, count in ipairs(counts) do
    if count ~= entries then
      state.built = nil  -- Redis has lost a part of the index
      state.broken = true
    end
  end
  state.entries = entries
  state.compares = state['until'] and now() < tonumber(state['until'])
  return state
end
