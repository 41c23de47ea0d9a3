-- Give a lease up, if it is still ours, and tell who waits for it.
--
-- KEYS[1]  the lease
-- ARGV[1]  our token
-- ARGV[2]  a channel, or ''        ARGV[3]  what to say there
--
-- Returns 1 if it was ours, else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return 1
