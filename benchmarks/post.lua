-- wrk's script: posts FOLDER/0, FOLDER/1, … in turn; prints what came of it as JSON.
-- wrk -s post.lua URL -- FOLDER COUNT CONTENT-TYPE
local requests, last = {}, 0

function init(arguments)
  local folder, count, content_type = arguments[1], tonumber(arguments[2]), arguments[3]
  for number = 0, count - 1 do
    local file = assert(io.open(folder .. "/" .. number, "rb"))
    local headers = { ["Content-Type"] = content_type }
    requests[number + 1] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "status_errors": %d, "socket_errors": %d, '
      .. '"p50_us": %.0f, "p99_us": %.0f}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
