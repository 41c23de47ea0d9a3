-- Hold a lease for longer, if it is still ours, or take it if it is nobody's.
--
-- KEYS[1]  the lease
-- ARGV[1]  our token
-- ARGV[2]  for how many ms from now
--
-- Returns 1 if the lease is ours now, else 0.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1]) -- needs no memory, so that a Redis which is out of it lets the rest pass
redis.call('SET', KEYS[1], ARGV[1], 'PX', tonumber(ARGV[2]))
return 1
