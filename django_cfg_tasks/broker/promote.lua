-- Move delayed jobs that are due to their streams, each exactly once.
--
-- KEYS     all delayed sets, rearq:queue:delay:<n>: members "<stream>:<job id>", scores due times in ms
-- ARGV[1]  the prefix of all streams, rearq:queue:
-- ARGV[2]  how many to move at most from each
-- writes   the streams named by the members
--
-- Returns {moved, score of the earliest that is left or '', in how many ms that is due}. The server's clock decides
-- what is due: others may differ.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local moved, earliest, score = 0, nil, ''
for _, set in ipairs(KEYS) do
    local due = redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, tonumber(ARGV[2]))
    for _, member in ipairs(due) do
        redis.call('ZREM', set, member) -- first: a Redis that is out of memory lets pass what follows a removal
        -- Queue names hold no colon, job ids may.
        local colon = string.find(member, ':', #ARGV[1] + 1, true)
        if colon then
            redis.call('XADD', string.sub(member, 1, colon - 1), '*', 'job_id', string.sub(member, colon + 1))
        end
    end
    moved = moved + #due
    local left = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
    if left[2] and (not earliest or tonumber(left[2]) < earliest) then
        earliest, score = tonumber(left[2]), left[2]
    end
end
return {moved, score, earliest and earliest - now or 0}
