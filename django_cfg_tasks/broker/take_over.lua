-- Take entries over from consumers that are dead, up to ARGV[3] of them, and forget dead consumers without any.
--
-- KEYS[1]  rearq:pulse        KEYS[2]  rearq:grace
-- KEYS[3…] the streams, rearq:queue:<name>, most urgent first
-- ARGV[1]  the consumer group
-- ARGV[2]  the consumer that takes over
-- ARGV[3]  how many entries at most
-- ARGV[4]  the prefix of the signs of life of this group's consumers, rearq:alive:<group>-
-- reads    the signs of life of all consumers of the group
--
-- Returns a flat list: stream, entry id, job id, stream, entry id, job id, ...
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('EXISTS', KEYS[2]) == 1 then return {} end
local group, me, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function field(flat, name)
    for i = 1, #flat, 2 do
        if flat[i] == name then return flat[i + 1] end
    end
end

local taken = {}
for k = 3, #KEYS do
    local stream = KEYS[k]
    local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
    if consumers.err then consumers = {} end -- no stream or no group yet
    for _, consumer in ipairs(consumers) do
        local name = field(consumer, 'name')
        if name ~= me and redis.call('EXISTS', ARGV[4] .. name) == 0 then
            if field(consumer, 'pending') == 0 then
                redis.call('XGROUP', 'DELCONSUMER', stream, group, name)
            elseif wanted > 0 then
                for _, pending in ipairs(redis.call('XPENDING', stream, group, '-', '+', wanted, name)) do
                    local id = pending[1]
                    local entry = redis.call('XCLAIM', stream, group, me, 0, id)[1]
                    if entry then
                        taken[#taken + 1] = stream
                        taken[#taken + 1] = id
                        taken[#taken + 1] = field(entry[2], 'job_id') or ''
                        wanted = wanted - 1
                    else
                        redis.call('XACK', stream, group, id) -- the entry itself was deleted
                    end
                end
            end
        end
    end
end
return taken
