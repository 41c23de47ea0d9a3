-- Make a consumer group on every stream, from its beginning.
--
-- KEYS     the streams, rearq:queue:<name>
-- ARGV[1]  the consumer group
--
-- The first write needs no memory, so that a Redis which is out of it lets the rest pass: whoever makes room there
-- must be able to join.
for _, stream in ipairs(KEYS) do
    redis.call('XDEL', stream, '0-1')
    local answer = redis.pcall('XGROUP', 'CREATE', stream, ARGV[1], '0', 'MKSTREAM')
    if answer.err and not string.find(answer.err, 'BUSYGROUP', 1, true) then return answer end
end
