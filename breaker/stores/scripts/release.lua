-- Release a probe's permit without an outcome.
-- KEYS[1..9], ARGV[1..3] see common.lua
-- ARGV[4] generation of the permit   ARGV[5] probe id, empty outside HALF_OPEN
-- Outcome: done

-- include common
-- include moves

if tonumber(ARGV[4]) == circuit.generation and ARGV[5] ~= '' then
  redis.call('ZREM', KEYS[5], ARGV[5])
end
return reply('done')
