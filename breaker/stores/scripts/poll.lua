-- Poll the circuits of an app's dependencies, and note which names are used.
-- KEYS[1] registry  sorted set: name of a dependency -> microseconds of its last noted use
-- KEYS[2] channel   the channel of all dependencies' circuits of the app
-- KEYS[3] instances, KEYS[4] settings: see register.lua
-- KEYS[5..]         for each polled circuit the 12 keys of report.lua
-- ARGV[1] now, microseconds; empty: the server's TIME   ARGV[2] instance, text
-- ARGV[3] greatest number of names   ARGV[4] names that were used, separated by blanks
-- ARGV[5] time after which an unused name is removed, microseconds
-- ARGV[6] time for which the circuit of a name without a place is kept, milliseconds
-- ARGV[7] instance that registers, text   ARGV[8] its settings; empty: registers nothing
-- ARGV[9..] for each polled circuit its name, its rules (ARGV[2] of common.lua), whether there is a
--           report (1 or 0), and the arguments 4 to 10 of report.lua
-- Returns {registered names, replies of the circuits, error with which Redis refuses writes or ''}

local KEYS_OF_ONE, ARGUMENTS_OF_ONE = 12, 10

local now_us = ARGV[1]
if now_us == '' then
  local time = redis.call('TIME')
  now_us = time[1] .. string.format('%06d', time[2])
end

local function snapshot(KEYS, ARGV)
  -- include snapshot
end

local function report(KEYS, ARGV)
  -- include report
end

-- Return the keys of a circuit that have no expiry of their own: circuit, outbox and history.
local function lasting_keys(first)
  return { KEYS[first], KEYS[first + 6], KEYS[first + 7] }
end

-- include refusal
-- include register

local refused = refusal(KEYS[1])
local oldest = string.format('(%.0f', tonumber(now_us) - tonumber(ARGV[5]))
for _, name in ipairs(refused and {} or redis.call('ZRANGE', KEYS[1], '-inf', oldest, 'BYSCORE')) do
  redis.call('ZREM', KEYS[1], name)
end
if not refused then
  register(KEYS[3], KEYS[4], now_us, ARGV[7], ARGV[8])
end
local added = {}
for name in string.gmatch(refused and '' or ARGV[4], '%S+') do
  local known = redis.call('ZSCORE', KEYS[1], name)
  if known or redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[3]) then
    redis.call('ZADD', KEYS[1], now_us, name)
    added[name] = not known
  end
end

local replies = {}
for index = 1, (#KEYS - 4) / KEYS_OF_ONE do
  local first, start = 5 + (index - 1) * KEYS_OF_ONE, 9 + (index - 1) * ARGUMENTS_OF_ONE
  local keys, name = {}, ARGV[start]
  for i = 1, KEYS_OF_ONE do
    keys[i] = KEYS[first + i - 1]
  end
  local arguments = { now_us, ARGV[start + 1], ARGV[2] }
  for i = 1, 7 do
    arguments[3 + i] = ARGV[start + 2 + i]
  end
  replies[index] = (ARGV[start + 2] == '1' and report or snapshot)(keys, arguments)
  if added[name] then
    for _, key in ipairs(lasting_keys(first)) do
      redis.call('PERSIST', key)
    end
  elseif not refused and not redis.call('ZSCORE', KEYS[1], name) then
    for _, key in ipairs(lasting_keys(first)) do
      redis.call('PEXPIRE', key, ARGV[6])
    end
  end
end
for name, is_new in pairs(added) do
  if is_new then
    -- A user without rights on the channel registers, too; the other instances poll.
    redis.pcall('PUBLISH', KEYS[2], name .. ' ')
  end
end
return { redis.call('ZRANGE', KEYS[1], 0, -1), replies, refused or '' }
