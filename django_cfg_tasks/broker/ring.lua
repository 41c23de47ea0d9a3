-- Make jobs known to workers: now, or when they are due.
--
-- ARGV[1]  JSON: {now: [[stream, job id, job id, ...], ...], later: [[delayed set, due time in ms,
--          "<stream>:<job id>"], ...], messages: [[channel, text], ...]}
-- writes   the streams and delayed sets that it names
local what = cjson.decode(ARGV[1])
for _, bells in ipairs(what.now) do
    for i = 2, #bells do redis.call('XADD', bells[1], '*', 'job_id', bells[i]) end
end
for _, bell in ipairs(what.later) do redis.call('ZADD', unpack(bell)) end
for _, message in ipairs(what.messages) do redis.call('PUBLISH', unpack(message)) end
