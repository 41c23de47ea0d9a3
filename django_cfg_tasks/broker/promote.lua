-- Move delayed jobs that are due to their streams, each exactly once.
--
-- KEYS[1]  a delayed set, rearq:queue:delay:<n>: members "<stream>:<job id>", scores due times in ms
-- ARGV[1]  the prefix of all streams, rearq:queue:
-- ARGV[2]  how many to move at most
-- writes   the streams named by the members
--
-- Returns {moved, score of the earliest that is left or ''}. The server's clock decides what is due.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[2]))
for _, member in ipairs(due) do
    redis.call('ZREM', KEYS[1], member) -- first: a Redis that is out of memory lets pass what follows a removal
    -- Queue names hold no colon, job ids may.
    local colon = string.find(member, ':', #ARGV[1] + 1, true)
    if colon then
        redis.call('XADD', string.sub(member, 1, colon - 1), '*', 'job_id', string.sub(member, colon + 1))
    end
end
local left = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {#due, left[2] or ''}
