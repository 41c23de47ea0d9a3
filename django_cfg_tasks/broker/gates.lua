-- Gates: in front of each, jobs wait in order until they may pass. A job passes all of its gates at once or none.
--
-- ARGV[1]  what to do: admit, leave, take, hold, turn or open
-- ARGV[2]  the details, JSON; see the functions of these names
-- rearq:gates                  zset: gates with somebody in front -> when to look at them next, in ms
-- rearq:gate:<name>:terms      hash: capacity, or starts and window (ms); while somebody waits
-- rearq:gate:<name>:waiting    zset: "<stream>:<job id>" -> its ticket; the lowest is the first
-- rearq:gate:<name>:called     zset: job id -> until when (ms) its place is kept; it is on its way through its stream
-- rearq:gate:<name>:holders    zset: job id -> when its hold lapses, in ms
-- rearq:gate:<name>:owners     hash: job id -> the worker that holds for it
-- rearq:gate:<name>:starts     zset: the starts of the last window -> when, in ms
-- writes   the streams that the members name, "<stream>:next" of those who are called
--
-- A gate has a capacity (so many jobs behind it at once) or a rate (so many starts in a window). Each function first
-- removes what has lapsed: a Redis that is out of memory lets pass what follows a removal.
local GATES, PREFIX, CALL_MS, MOST = 'rearq:gates', 'rearq:gate:', 30000, 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local what = cjson.decode(ARGV[2])

local function key(gate, part) return PREFIX .. gate .. ':' .. part end

local function tidy(gate)
    for _, job in ipairs(redis.call('ZRANGEBYSCORE', key(gate, 'holders'), '-inf', now)) do
        redis.call('HDEL', key(gate, 'owners'), job)
    end
    redis.call('ZREMRANGEBYSCORE', key(gate, 'holders'), '-inf', now)
    redis.call('ZREMRANGEBYSCORE', key(gate, 'called'), '-inf', now)
end

-- How many more may pass, besides those who are called.
local function room(gate, terms)
    local called = redis.call('ZCARD', key(gate, 'called'))
    if terms.capacity then return tonumber(terms.capacity) - redis.call('ZCARD', key(gate, 'holders')) - called end
    redis.call('ZREMRANGEBYSCORE', key(gate, 'starts'), '-inf', now - tonumber(terms.window))
    return tonumber(terms.starts) - redis.call('ZCARD', key(gate, 'starts')) - called
end

local function first_score(gate, part)
    return tonumber(redis.call('ZRANGE', key(gate, part), 0, 0, 'WITHSCORES')[2])
end

-- Send the first of those who wait on their way, up to `most`; queue names hold no colon, job ids may.
local function send(gate, most)
    local sent = redis.call('ZPOPMIN', key(gate, 'waiting'), most)
    local jobs = {}
    for i = 1, #sent, 2 do
        local colon = string.find(sent[i], ':', #'rearq:queue:' + 1, true)
        local job = string.sub(sent[i], colon + 1)
        redis.call('XADD', string.sub(sent[i], 1, colon - 1) .. ':next', '*', 'job_id', job)
        jobs[#jobs + 1] = job
    end
    return jobs
end

-- Call as many as may pass, and note when to look again.
local function call(gate)
    local flat, terms = redis.call('HGETALL', key(gate, 'terms')), {}
    if #flat == 0 then return end -- nobody waits
    for i = 1, #flat, 2 do terms[flat[i]] = flat[i + 1] end
    tidy(gate)
    local free = room(gate, terms)
    if free > 0 then
        for _, job in ipairs(send(gate, math.min(free, MOST))) do
            redis.call('ZADD', key(gate, 'called'), now + CALL_MS, job)
        end
    end
    if redis.call('EXISTS', key(gate, 'waiting')) == 0 then
        redis.call('ZREM', GATES, gate)
        redis.call('DEL', key(gate, 'terms'))
        return
    end
    local look = free > MOST and now or math.huge
    for _, part in ipairs({'holders', 'called'}) do look = math.min(look, first_score(gate, part) or look) end
    local oldest = terms.window and first_score(gate, 'starts')
    if oldest then look = math.min(look, oldest + tonumber(terms.window)) end
    redis.call('ZADD', GATES, look == math.huge and '+inf' or look, gate)
end

local function owner_of(gate, job) return redis.call('HGET', key(gate, 'owners'), job) or nil end

-- Whether a job may pass a gate. Who is called passes those who wait; nobody else passes one with a lower ticket.
local function may_pass(gate, applicant)
    local job = applicant.job
    tidy(gate.name)
    local owner = owner_of(gate.name, job)
    if owner then return applicant.place == 'any' or (applicant.place == 'own' and owner == what.owner) end
    local is_called = redis.call('ZSCORE', key(gate.name, 'called'), job)
    if is_called then return room(gate.name, gate.terms) + 1 > 0 end
    local first = first_score(gate.name, 'waiting')
    return not (first and first < applicant.ticket) and room(gate.name, gate.terms) > 0
end

local actions = {}

-- Let jobs in: {owner, group, jobs: [{job, stream, entry, ticket, member, place, gates: [{name, terms, lease}]}]}.
-- `place` says what it means that the job is behind a gate already: it may use "any" such place, only its "own", or
-- "none", as the run that has it has not ended.
-- Returns, for each, 1: it passed, 2: it is behind its gates already, for another worker, 0: it waits, and its entry
-- is acknowledged and deleted.
function actions.admit()
    local answers = {}
    for index, applicant in ipairs(what.jobs) do
        local job, refusing, elsewhere = applicant.job, nil, false
        for _, gate in ipairs(applicant.gates) do
            if not refusing and not may_pass(gate, applicant) then refusing = gate end
            local owner = owner_of(gate.name, job)
            elsewhere = elsewhere or (owner ~= nil and owner ~= what.owner)
        end
        for _, gate in ipairs(applicant.gates) do
            local was_called = redis.call('ZREM', key(gate.name, 'called'), job) == 1
            if not refusing and not elsewhere then
                redis.call('ZREM', key(gate.name, 'waiting'), applicant.member) -- rung for twice
                if gate.terms.capacity then
                    redis.call('ZADD', key(gate.name, 'holders'), now + gate.lease, job)
                    redis.call('HSET', key(gate.name, 'owners'), job, what.owner)
                else
                    redis.call('ZADD', key(gate.name, 'starts'), now, applicant.entry .. '/' .. job)
                    redis.call('PEXPIRE', key(gate.name, 'starts'), gate.terms.window)
                end
            end
            -- It is the next one's turn, or comes at another time now.
            if was_called and not (refusing and gate.name == refusing.name) then call(gate.name) end
        end
        if refusing then
            redis.call('ZADD', key(refusing.name, 'waiting'), applicant.ticket, applicant.member)
            for name, value in pairs(refusing.terms) do redis.call('HSET', key(refusing.name, 'terms'), name, value) end
            redis.call('XACK', applicant.stream, what.group, applicant.entry)
            redis.call('XDEL', applicant.stream, applicant.entry)
            call(refusing.name)
        end
        answers[index] = refusing and 0 or elsewhere and 2 or 1
    end
    return answers
end

-- Let the next in: {owner, jobs: [{job, gates: [names]}]}. What another worker holds by now is left alone.
function actions.leave()
    for _, leaver in ipairs(what.jobs) do
        for _, gate in ipairs(leaver.gates) do
            local owner = owner_of(gate, leaver.job)
            if owner == nil or owner == what.owner then
                redis.call('ZREM', key(gate, 'holders'), leaver.job)
                redis.call('HDEL', key(gate, 'owners'), leaver.job)
            end
            redis.call('ZREM', key(gate, 'called'), leaver.job)
            call(gate)
        end
    end
end

-- Hold for longer: {owner, force, jobs: [{job, gates: [{name, capacity, lease}]}]}. With `force` also what another
-- worker held, that has died. What had lapsed is held again where there is room.
-- Returns the names of the gates that others are behind by now.
function actions.hold()
    local lost = {}
    for _, holder in ipairs(what.jobs) do
        for _, gate in ipairs(holder.gates) do
            local owner = owner_of(gate.name, holder.job)
            local mine = what.force or owner == what.owner
            if not mine and owner == nil then
                tidy(gate.name)
                mine = redis.call('ZCARD', key(gate.name, 'holders')) < gate.capacity
            end
            if mine then
                redis.call('ZREM', key(gate.name, 'called'), holder.job)
                redis.call('ZADD', key(gate.name, 'holders'), now + gate.lease, holder.job)
                redis.call('HSET', key(gate.name, 'owners'), holder.job, what.owner)
            else
                lost[#lost + 1] = gate.name
            end
        end
    end
    return lost
end

-- Look at the gates whose time has come, up to 100: {}. Returns in how many ms to do so again, or ''.
function actions.turn()
    for _, gate in ipairs(redis.call('ZRANGEBYSCORE', GATES, '-inf', now, 'LIMIT', 0, 100)) do call(gate) end
    local look = redis.call('ZRANGE', GATES, 0, 0, 'WITHSCORES')[2]
    if not look or look == 'inf' then return '' end
    return math.max(0, tonumber(look) - now)
end

-- Send all who wait on their way, whatever the gate says: {gate}. Returns how many are left.
function actions.open()
    send(what.gate, MOST)
    local left = redis.call('ZCARD', key(what.gate, 'waiting'))
    if left == 0 then
        redis.call('ZREM', GATES, what.gate)
        redis.call('DEL', key(what.gate, 'terms'))
    end
    return left
end

return actions[ARGV[1]]()
