-- Read up to ARGV[3] new entries, the streams in the order given: an earlier one is emptied before a later one
-- is looked at. Never blocks.
--
-- KEYS     the streams, rearq:queue:<name>, most urgent first
-- ARGV[1]  the consumer group
-- ARGV[2]  the consumer
-- ARGV[3]  how many entries at most
--
-- Returns a flat list: stream, entry id, job id, stream, entry id, job id, ...
local wanted = tonumber(ARGV[3])
local found = {}
for _, stream in ipairs(KEYS) do
    if wanted <= 0 then break end
    local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', wanted, 'STREAMS', stream, '>')
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
return found
