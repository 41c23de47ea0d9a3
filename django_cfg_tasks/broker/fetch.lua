-- Read up to ARGV[3] new entries, the streams in the order given: an earlier one is emptied before a later one
-- is looked at, but for shares of some of them. Never blocks.
--
-- KEYS     the streams, most urgent first: of each queue rearq:queue:<name>:next and rearq:queue:<name>
-- ARGV[1]  the consumer group
-- ARGV[2]  the consumer
-- ARGV[3]  how many entries at most
-- ARGV[4]  a queue, from 1, and ARGV[5] how many entries of it are read whatever waits before it; and so on
--
-- Returns a flat list as JSON, which clients read many times faster than a list: stream, entry id, job id, stream, ...
local wanted = tonumber(ARGV[3])
local found = {}
local function read(stream, most)
    if most <= 0 then return end
    local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', most, 'STREAMS', stream, '>')
    if reply then
        for _, entry in ipairs(reply[1][2]) do
            local fields = entry[2]
            local job_id = ''
            for i = 1, #fields, 2 do
                if fields[i] == 'job_id' then job_id = fields[i + 1] end
            end
            found[#found + 1] = stream
            found[#found + 1] = entry[1]
            found[#found + 1] = job_id
            wanted = wanted - 1
        end
    end
end
local shared = 0
for i = 5, #ARGV, 2 do shared = shared + tonumber(ARGV[i]) end
for _, stream in ipairs(KEYS) do read(stream, wanted - shared) end
for i = 4, #ARGV, 2 do
    local queue, rest = tonumber(ARGV[i]), wanted - tonumber(ARGV[i + 1])
    for key = 2 * queue - 1, 2 * queue do read(KEYS[key], wanted - rest) end
end
for _, stream in ipairs(KEYS) do read(stream, wanted) end
return #found > 0 and cjson.encode(found) or '[]'
