-- Each poll is of a random device among as many as its argument says.
local devices

function init(args)
  devices = tonumber(args[1])
  math.randomseed(devices)
end

function request()
  return wrk.format(nil, string.format("/dcmp/contact-me?device-id=001ae8%06x", math.random(0, devices - 1)))
end
