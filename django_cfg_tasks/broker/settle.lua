-- Acknowledge and delete entries, ring for jobs that are to run again, tell who waits: all of it or nothing.
--
-- ARGV[1]  the consumer group
-- ARGV[2]  JSON: {acknowledged: [[stream, entry id, entry id, ...], ...], now: [[stream, job id, job id, ...], ...],
--          later: [[delayed set, due time in ms, "<stream>:<job id>"], ...], messages: [[channel, text], ...]}
-- writes   the streams and delayed sets that it names
--
-- A Redis that is out of memory refuses every MULTI, and every script whose first write needs memory. The
-- acknowledgements, which give some back, come first therefore: Redis lets what follows them pass.
local what = cjson.decode(ARGV[2])
for _, entries in ipairs(what.acknowledged) do
    local stream = table.remove(entries, 1)
    for from = 1, #entries, 1000 do
        local ids = {unpack(entries, from, math.min(from + 999, #entries))}
        redis.call('XACK', stream, ARGV[1], unpack(ids))
        redis.call('XDEL', stream, unpack(ids))
    end
end
for _, bells in ipairs(what.now) do
    for i = 2, #bells do redis.call('XADD', bells[1], '*', 'job_id', bells[i]) end
end
for _, bell in ipairs(what.later) do redis.call('ZADD', unpack(bell)) end
for _, message in ipairs(what.messages) do redis.call('PUBLISH', unpack(message)) end
