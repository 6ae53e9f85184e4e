-- Returns the last position of replayed positions, "<last>|<first>" or "<last>" (an older version).
local function last_of(range)
  return range:match('^[^|]*')
end
