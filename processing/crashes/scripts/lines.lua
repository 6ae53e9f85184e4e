-- Returns the lines of a text that `keeps` accepts, as a table. An older or newer version may have
-- written lines of another form; `keeps` decides about them, too.
local function lines_of(text, keeps)
  local found = {}
  for line in string.gmatch(text or '', '[^\n]+') do
    if keeps(line) then
      found[#found + 1] = line
    end
  end
  return found
end
