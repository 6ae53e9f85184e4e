-- Returns the number of entries, when the index was last compared with the queue or "", the messages
-- of others as JSON, the numbers of unreadable and of held messages, and the number of messages that
-- a running comparison has found or "".
--
-- KEYS     hash entries: value by name; sorted sets order, keys, ids: see `value.lua`; hash causes:
--          number of entries; hash state: see `state.lua`
-- include value
-- include known
local state = known()
return {state.entries, state.built or '', state.others or '{}', state.unreadable or 0,
  state.held or 0, state.compares and (state.seen or 0) or ''}
