-- Tell what waits in streams: one moment's picture.
--
-- KEYS     the streams, rearq:queue:<name> and rearq:queue:<name>:next
-- ARGV[1]  the consumer group
--
-- Returns, for each stream: how many entries the group has not read yet, for how many ms the oldest of them has
-- waited ('' if there is none), how many it has read and not acknowledged.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for _, stream in ipairs(KEYS) do
    local length = redis.call('XLEN', stream)
    local pending, last = 0, '0-0'
    local groups = redis.pcall('XINFO', 'GROUPS', stream)
    if not groups.err then
        for _, group in ipairs(groups) do
            local facts = {}
            for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
            if facts['name'] == ARGV[1] then pending, last = facts['pending'], facts['last-delivered-id'] end
        end
    end
    local waited = ''
    for _, entry in ipairs(redis.call('XRANGE', stream, last, '+', 'COUNT', 2)) do
        if entry[1] ~= last and waited == '' then
            waited = tostring(math.max(0, now - tonumber(string.match(entry[1], '^%d+'))))
        end
    end
    -- Entries are deleted when they are acknowledged, so that all others are unread or pending.
    answer[#answer + 1] = waited == '' and 0 or math.max(1, length - pending)
    answer[#answer + 1] = waited
    answer[#answer + 1] = pending
end
return answer
