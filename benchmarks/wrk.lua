-- One request, read from files, so that neither secrets nor tokens stand in the process list; the result as one line of
-- JSON. The folder is named by BENCH_CALL. In its path and body, {n} is another number in each request, {k} one of the
-- first hundred.

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

local path = read("path")
if path:find("{[nk]}") or body:find("{[nk]}") then
    -- No two runs begin with the same number: what one has written, the next must change again.
    local n = tonumber(os.getenv("BENCH_FIRST"))
    function request()
        n = n + 1
        local values = { ["{n}"] = tostring(n), ["{k}"] = tostring(n % 100) }
        return wrk.format(nil, (path:gsub("{[nk]}", values)), nil, #body > 0 and (body:gsub("{[nk]}", values)) or nil)
    end
end

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout
    ))
end
