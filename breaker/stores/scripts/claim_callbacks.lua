-- Claim the due callbacks of generations after OPEN, each for a lease.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- KEYS[10] approvals  hash: "<generation> <url>" -> "<due, microseconds> <failed attempts>"
-- ARGV[4] lease, microseconds
-- Returns {{generation, url, failed attempts}, ...}

-- include common
-- include moves

local passed = circuit.generation
if circuit.state == 'open' or circuit.state == 'isolated' then
  passed = passed - 1
end
local due = {}
local registered = redis.call('HGETALL', KEYS[10])
for i = 1, #registered, 2 do
  local generation, url = string.match(registered[i], '^(%d+) (.*)$')
  local at, attempts = string.match(registered[i + 1], '^(%d+) (%d+)$')
  if tonumber(generation) <= passed and tonumber(at) <= now then
    redis.call('HSET', KEYS[10], registered[i],
      integer_text(now + tonumber(ARGV[4])) .. ' ' .. attempts)
    due[#due + 1] = { generation, url, attempts }
  end
end
return due
