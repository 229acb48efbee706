-- Sends as many polls at a time as its argument says.
local polls

function init(args)
  local each = {}
  for n = 1, tonumber(args[1]) do
    each[n] = wrk.format()
  end
  polls = table.concat(each)
end

function request()
  return polls
end
