-- Say that a process lives.
--
-- KEYS[1]  its sign of life, rearq:alive:<name>
-- KEYS[2]  the hash of all processes, rearq:worker
-- KEYS[3]  rearq:pulse: exists while anybody renews
-- KEYS[4]  rearq:grace: while it exists nobody may be called dead
-- ARGV[1]  the lease in ms
-- ARGV[2]  the process's name
-- ARGV[3]  its line, JSON
--
-- A pulse that is gone means that for a while nobody could renew (Redis was away, cut off or wiped, or no process
-- ran), so that a missing sign of life proves nothing until everybody has had the time to give one. It lapses
-- before any sign of life that was renewed in time does.
--
-- The first write needs no memory, so that a Redis which is out of it lets the rest pass: workers make room there.
--
-- Returns 1 if the sign of life was still there, else 0.
local lease = tonumber(ARGV[1])
local alive = redis.call('PEXPIRE', KEYS[1], lease)
if redis.call('EXISTS', KEYS[3]) == 0 then redis.call('SET', KEYS[4], '1', 'PX', lease) end
redis.call('SET', KEYS[3], '1', 'PX', math.floor(lease / 2))
redis.call('SET', KEYS[1], '1', 'PX', lease)
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return alive
