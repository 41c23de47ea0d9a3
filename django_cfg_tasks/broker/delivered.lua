-- Tell how far the groups of a stream have read, and what of it they have not acknowledged: one moment's picture.
--
-- KEYS[1]  a stream, rearq:queue:<name>
-- ARGV     the groups to look at
--
-- Returns {a group, its last delivered id, {ids of its pending entries}, the next group, ...}.
local wanted, found = {}, {}
for _, name in ipairs(ARGV) do wanted[name] = true end
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then return {} end -- no stream yet
for _, group in ipairs(groups) do
    local facts = {}
    for i = 1, #group, 2 do facts[group[i]] = group[i + 1] end
    if wanted[facts['name']] then
        local ids = {}
        if facts['pending'] > 0 then
            for _, pending in ipairs(redis.call('XPENDING', KEYS[1], facts['name'], '-', '+', facts['pending'])) do
                ids[#ids + 1] = pending[1]
            end
        end
        found[#found + 1] = facts['name']
        found[#found + 1] = facts['last-delivered-id']
        found[#found + 1] = ids
    end
end
return found
