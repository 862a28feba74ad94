-- One fixed request, read from files, so that neither secrets nor tokens stand in the process list; the result as one
-- line of JSON. The folder is named by BENCH_CALL.

local function read(name)
    local file = assert(io.open(os.getenv("BENCH_CALL") .. "/" .. name, "rb"))
    local content = file:read("*a")
    file:close()
    return content
end

wrk.method = read("method")
for name, value in read("headers"):gmatch("([^:\n]+): ([^\n]*)") do
    wrk.headers[name] = value
end
local body = read("body")
if #body > 0 then
    wrk.body = body
end

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout
    ))
end
