-- The beginning of all scripts: the time, the stored circuit, and the reply. Each function that is
-- created here costs a recorded failure about a microsecond, so other functions are in moves.lua.
-- KEYS[1] circuit    hash: state, generation, opened_at_us, changed_at_us, resume_at_us, break_us,
--                    reason, by, ends_as (of an isolation: the state that follows), stops_app (0: the
--                    opening does not stop the app; absent in an earlier version's), ruled_us
--                    (in mode observe: when a rule was met the last time); failed probes that
--                    count in HALF_OPEN (probe_failures); and for the standstill rule, see
--                    standstill.lua: attempts, attempts_generation, attempts_at_us,
--                    attempts_last_us, attempt_keys, attempt_error, success_us
-- KEYS[2] window     sorted set: failure id -> microseconds of its last recording
-- KEYS[3] samples    hash of at most 5: slot -> "<microseconds> <failures then> <error>"
-- KEYS[4] successes  hash: bucket number -> successes (only with a ratio rule)
-- KEYS[5] probes     sorted set: probe id -> microseconds at which its lease ends
-- KEYS[6] probed     set: ids of the probes that succeeded
-- KEYS[7] outbox     stream: alerts not yet published
-- KEYS[8] history    stream: event, generation, by, at_us, reason, instance, stops_app (absent in
--                    an earlier version's)
-- KEYS[9] changes    channel: the new state at each transition; the circuits of all dependencies
--                    share one, so the name of the dependency and a blank come before the state
-- ARGV[1] now, microseconds; empty: the server's TIME
-- ARGV[2] the rules, separated by blanks: failure threshold (failures), window (microseconds),
--         failure ratio (0..1; 0: no rule), minimum throughput (outcomes), break (microseconds;
--         0: manual), longest break (microseconds), half-open permits (probes), lease of a permit
--         (microseconds), history limit (entries), outbox limit (entries), standstill (failed
--         attempts; 0: no rule), age of a report of running keys (microseconds),
--         mode (0: enforce, 1: observe), stops_app (1: an opening stops the app, 0: it does not)
-- ARGV[3] instance, text
-- `format_reply` returns one text, because a client reads one value much faster than a list:
-- "outcome transitions state generation opened_at_us changed_at_us resume_at_us failures
-- successes probe_successes now_us bytes_of_reason reason", without a blank by, and on a line of
-- its own "failed_attempts success_us probe_failures ends_as"; ends_as is '-' unless the circuit is
-- isolated. A fifth value, 0, follows if the opening does not stop the app. An earlier version sends
-- no such line, and reads a line that it does not know as a part of by.

local now_us = ARGV[1]
if now_us == '' then
  local time = redis.call('TIME')
  now_us = time[1] .. string.format('%06d', time[2])
end
local now = tonumber(now_us)
local threshold, window_us, ratio = string.match(ARGV[2], '^(%S+) (%S+) (%S+)')
threshold, window_us, ratio = tonumber(threshold), tonumber(window_us), tonumber(ratio)
local after_us = string.format('%.0f', now - window_us)
local transitions = 0

local stored = redis.call('HMGET', KEYS[1], 'state', 'generation', 'opened_at_us', 'changed_at_us',
  'resume_at_us', 'break_us', 'reason', 'by', 'attempts', 'attempts_generation',
  'attempts_at_us', 'success_us', 'probe_failures', 'ends_as', 'stops_app')
local circuit = {
  state = stored[1] or 'closed', generation = tonumber(stored[2] or 0),
  opened_at_us = stored[3] or '0', changed_at_us = stored[4] or '0',
  resume_at_us = stored[5] or '0', break_us = stored[6] or '0',
  reason = stored[7] or '', by = stored[8] or '', ends_as = stored[14] or '-',
  stops_app = stored[15] or '1',
}
-- Attempts of another generation failed before the circuit closed, so they do not count.
local attempts = stored[10] == tostring(circuit.generation) and tonumber(stored[9]) or 0
local attempts_us, success_us = tonumber(stored[11] or 0), stored[12] or '0'
local probe_failures = tonumber(stored[13] or 0)

local function format_reply(outcome, failures, successes, probed)
  return string.format('%s %d %s %d %s %s %s %d %d %d %s %d ', outcome, transitions,
    circuit.state, circuit.generation, circuit.opened_at_us, circuit.changed_at_us,
    circuit.resume_at_us, failures, successes, probed, now_us, #circuit.reason)
    .. circuit.reason .. circuit.by
    .. string.format('\n%d %s %d %s', attempts, success_us, probe_failures, circuit.ends_as)
    .. (circuit.stops_app == '0' and ' 0' or '')
end
