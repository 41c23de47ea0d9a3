-- Gates: in front of them, jobs wait in order until they may pass. A job passes all of its gates at once or none.
--
-- ARGV[1]  what to do: admit, leave, take, hold, turn or open
-- ARGV[2]  the details, JSON; see the functions of these names
-- rearq:gates                  zset: gates with somebody in front -> when to look at them next, in ms
-- rearq:gates:line:<line>      zset: "<stream>:<job id>" -> its ticket, of the jobs that wait for the same gates; the
--                              lowest is the first. A line is called "\n<JSON list of the gates>", or starts with the
--                              id of a job that waits on its own, until an earlier run of it has ended
-- rearq:gate:<name>:lines      zset: the lines in front -> the ticket of their first
-- rearq:gate:<name>:terms      hash: capacity, or starts and window (ms); while somebody waits
-- rearq:gate:<name>:called     zset: job id -> until when (ms) its place is kept; it is on its way through its stream
-- rearq:gate:<name>:holders    zset: job id -> when its hold lapses, in ms
-- rearq:gate:<name>:owners     hash: job id -> the worker that holds for it
-- rearq:gate:<name>:starts     zset: the starts of the last window -> when, in ms
-- writes   the streams that the members name, "<stream>:next" of those who are called
--
-- A gate has a capacity (so many jobs behind it at once) or a rate (so many starts in a window). Who is called has a
-- place at all of the gates: of a line that one gate lets pass and another does not, nobody is called in vain. Each
-- function first removes what has lapsed: a Redis that is out of memory lets pass what follows a removal.
local GATES, PREFIX, LINE, CALL_MS, MOST = 'rearq:gates', 'rearq:gate:', 'rearq:gates:line:', 30000, 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local what = cjson.decode(ARGV[2])

local function key(gate, part) return PREFIX .. gate .. ':' .. part end

local function first_score(zset) return tonumber(redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2]) end

local function owner_of(gate, job) return redis.call('HGET', key(gate, 'owners'), job) or nil end

local function tidy(gate)
    for _, job in ipairs(redis.call('ZRANGEBYSCORE', key(gate, 'holders'), '-inf', now)) do
        redis.call('HDEL', key(gate, 'owners'), job)
    end
    redis.call('ZREMRANGEBYSCORE', key(gate, 'holders'), '-inf', now)
    redis.call('ZREMRANGEBYSCORE', key(gate, 'called'), '-inf', now)
end

-- How many more may pass, besides those who are called.
local function room(gate, terms)
    tidy(gate)
    local called = redis.call('ZCARD', key(gate, 'called'))
    if terms.capacity then return tonumber(terms.capacity) - redis.call('ZCARD', key(gate, 'holders')) - called end
    redis.call('ZREMRANGEBYSCORE', key(gate, 'starts'), '-inf', now - tonumber(terms.window))
    return tonumber(terms.starts) - redis.call('ZCARD', key(gate, 'starts')) - called
end

-- The terms of a gate that somebody waits in front of, else nil.
local function terms_of(gate)
    local flat, terms = redis.call('HGETALL', key(gate, 'terms')), {}
    for i = 1, #flat, 2 do terms[flat[i]] = flat[i + 1] end
    return #flat > 0 and terms or nil
end

-- The gates of a line, and the job that it is for, '' if it is for all.
local function parts_of(line)
    local newline = string.find(line, '\n', 1, true)
    return cjson.decode(string.sub(line, newline + 1)), string.sub(line, 1, newline - 1)
end

-- Note when to look at a gate again, or that nobody waits in front of it.
local function note(gate)
    if redis.call('EXISTS', key(gate, 'lines')) == 0 then
        redis.call('ZREM', GATES, gate)
        redis.call('DEL', key(gate, 'terms'))
        return
    end
    local look = math.huge
    for _, part in ipairs({'holders', 'called'}) do look = math.min(look, first_score(key(gate, part)) or look) end
    local window = tonumber(redis.call('HGET', key(gate, 'terms'), 'window') or nil)
    local oldest = window and first_score(key(gate, 'starts'))
    if oldest then look = math.min(look, oldest + window) end
    redis.call('ZADD', GATES, look == math.huge and '+inf' or look, gate)
end

-- Put a line where its first belongs, or away, in front of all its gates.
local function reorder(line, gates)
    local first = first_score(LINE .. line)
    for _, gate in ipairs(gates) do
        if first then redis.call('ZADD', key(gate, 'lines'), first, line)
        else redis.call('ZREM', key(gate, 'lines'), line) end
        note(gate)
    end
end

-- Send the first `most` of a line on their way, with a place kept at each of `kept`; return how many they are. Queue
-- names hold no colon, job ids may.
local function send(line, gates, most, kept)
    local sent = redis.call('ZPOPMIN', LINE .. line, most)
    for i = 1, #sent, 2 do
        local colon = string.find(sent[i], ':', #'rearq:queue:' + 1, true)
        local job = string.sub(sent[i], colon + 1)
        redis.call('XADD', string.sub(sent[i], 1, colon - 1) .. ':next', '*', 'job_id', job)
        for _, gate in ipairs(kept) do redis.call('ZADD', key(gate, 'called'), now + CALL_MS, job) end
    end
    reorder(line, gates)
    return #sent / 2
end

-- How many of a line may pass all its gates.
local function room_for(gates, job)
    local free = math.huge
    for _, gate in ipairs(gates) do
        free = math.min(free, room(gate, terms_of(gate)))
        if job ~= '' and owner_of(gate, job) then free = 0 end
    end
    return free
end

-- Call as many as may pass, those of the lowest tickets first, and note when to look again.
local function call(gate)
    local terms = terms_of(gate)
    if not terms then return end -- nobody waits
    local sent, passed_over = 0, 0
    while room(gate, terms) > 0 and sent < MOST and passed_over < MOST do
        local line = redis.call('ZRANGE', key(gate, 'lines'), passed_over, passed_over)[1]
        if not line then break end
        local gates, job = parts_of(line)
        local free = room_for(gates, job)
        if free > 0 then
            -- One by one where others may come in between.
            local alone = redis.call('ZCARD', key(gate, 'lines')) == 1
            sent = sent + send(line, gates, alone and math.min(free, MOST) or 1, gates)
        else
            passed_over = passed_over + 1 -- another gate calls it
        end
    end
    note(gate)
    if sent >= MOST and redis.call('EXISTS', key(gate, 'lines')) == 1 then redis.call('ZADD', GATES, now, gate) end
end

-- Whether a job may pass a gate. Who is called passes those who wait; nobody else passes one with a lower ticket.
local function may_pass(gate, job, ticket)
    local free = room(gate.name, gate.terms)
    if redis.call('ZSCORE', key(gate.name, 'called'), job) then return free + 1 > 0 end
    local first = first_score(key(gate.name, 'lines'))
    return not (first and first < ticket) and free > 0
end

-- Let a job wait in front of `gates`.
local function wait(applicant, gates, alone)
    local names = {}
    for _, gate in ipairs(gates) do
        names[#names + 1] = gate.name
        for name, value in pairs(gate.terms) do redis.call('HSET', key(gate.name, 'terms'), name, value) end
    end
    local line = (alone and applicant.job or '') .. '\n' .. cjson.encode(names)
    redis.call('ZADD', LINE .. line, applicant.ticket, applicant.member)
    reorder(line, names)
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
        local job, refused, elsewhere, alone, missing, names = applicant.job, false, false, false, {}, {}
        for _, gate in ipairs(applicant.gates) do
            tidy(gate.name)
            local owner = owner_of(gate.name, job)
            names[#names + 1] = gate.name
            if owner and (applicant.place == 'any' or (applicant.place == 'own' and owner == what.owner)) then
                elsewhere = elsewhere or owner ~= what.owner
            else
                missing[#missing + 1] = gate
                alone = alone or owner ~= nil
                refused = refused or owner ~= nil or not may_pass(gate, job, applicant.ticket)
            end
        end
        for _, gate in ipairs(applicant.gates) do
            local was_called = redis.call('ZREM', key(gate.name, 'called'), job) == 1
            if not refused and not elsewhere then
                if gate.terms.capacity then
                    redis.call('ZADD', key(gate.name, 'holders'), now + gate.lease, job)
                    redis.call('HSET', key(gate.name, 'owners'), job, what.owner)
                else
                    redis.call('ZADD', key(gate.name, 'starts'), now, applicant.entry .. '/' .. job)
                    redis.call('PEXPIRE', key(gate.name, 'starts'), gate.terms.window)
                end
            end
            if was_called and not refused then call(gate.name) end -- it is to be looked at another time now
        end
        if refused then
            wait(applicant, missing, alone)
            redis.call('XACK', applicant.stream, what.group, applicant.entry)
            redis.call('XDEL', applicant.stream, applicant.entry)
            for _, gate in ipairs(names) do call(gate) end
        else
            local line = '\n' .. cjson.encode(names)
            if redis.call('ZREM', LINE .. line, applicant.member) == 1 then reorder(line, names) end -- rung for twice
        end
        answers[index] = refused and 0 or elsewhere and 2 or 1
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
        end
        for _, gate in ipairs(leaver.gates) do call(gate) end
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

-- Send all who wait on their way, whatever their gates say: {gate}. Returns how many lines are left.
function actions.open()
    local line = redis.call('ZRANGE', key(what.gate, 'lines'), 0, 0)[1]
    if line then send(line, parts_of(line), MOST, {}) end
    return redis.call('ZCARD', key(what.gate, 'lines'))
end

return actions[ARGV[1]]()
