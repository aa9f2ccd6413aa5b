//! What the server does at once, in its own language: nobody counts in between.
//!
//! What a request has claimed of budgets also stands in an entry of its own, for as long as the budgets themselves do. So
//! settling it and taking it back change nothing the second time, and can be sent again whenever no answer came.

/// `KEYS`: those of the claims, the record of places, then the request's entry if it claims of a budget. `ARGV`: the request's
/// name, the lease, the longest gap, when the record began in which places may be claimed, and for each claim of which kind
/// it is, its limit (`rate`: a minute in microseconds), what it takes, and for how many milliseconds that is kept (`budget`).
/// Answers 0 and for each claim how its limit stands; the place of the claim that is refused (from 1) and by how much too
/// much it would be; -1 for a request that was taken back before it came; or -2 where the record is another, or may not be
/// whole yet.
///
/// Leases end by a clock that stands still while nobody is heard of: it goes on by the longest gap at most.
pub(super) const TAKE: &str = "
    local t = redis.call('TIME')
    local now = t[1] * 1000000 + t[2]
    local claims = (#ARGV - 4) / 4
    local record, entry, clock = KEYS[claims + 1], KEYS[claims + 2], nil
    if entry and redis.call('HEXISTS', entry, 'over') == 1 then return {-1} end
    local after = {}
    for i = 1, claims do
        local key, kind, limit, cost = KEYS[i], ARGV[4 * i + 1], tonumber(ARGV[4 * i + 2]), tonumber(ARGV[4 * i + 3])
        if kind == 'rate' then
            after[i] = math.max(tonumber(redis.call('GET', key) or now), now) + cost
            if after[i] - now > limit then return {i, after[i] - now - limit} end
        elseif kind == 'budget' then
            local spent = tonumber(redis.call('GET', key) or 0)
            if spent >= limit then return {i, 0} end
            after[i] = spent + cost
        else
            if not clock then
                local began, whole, heard, last = unpack(redis.call('HMGET', record, 'began', 'whole', 'heard', 'clock'))
                if began ~= ARGV[4] or now < tonumber(whole) then return {-2} end
                clock = last + math.min(math.max(now - heard, 0), ARGV[3])
                redis.call('HSET', record, 'heard', string.format('%.0f', now), 'clock', string.format('%.0f', clock))
            end
            redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', clock))
            after[i] = redis.call('ZCARD', key) + cost
            if after[i] > limit then return {i, 0} end
        end
    end
    local answer, kept = {0}, 0
    for i = 1, claims do
        local key, kind = KEYS[i], ARGV[4 * i + 1]
        if kind == 'rate' then
            redis.call('SET', key, string.format('%.0f', after[i]), 'PX', math.ceil((after[i] - now) / 1000) + 1)
            answer[i + 1] = after[i] - now
        elseif kind == 'budget' then
            redis.call('SET', key, string.format('%.0f', after[i]), 'PX', ARGV[4 * i + 4])
            redis.call('HSET', entry, key, ARGV[4 * i + 3])
            kept = math.max(kept, tonumber(ARGV[4 * i + 4]))
            answer[i + 1] = after[i]
        else
            redis.call('ZADD', key, string.format('%.0f', clock + ARGV[2]), ARGV[1])
            redis.call('PEXPIRE', key, 86400000)
            answer[i + 1] = after[i]
        end
    end
    if entry then redis.call('PEXPIRE', entry, string.format('%.0f', kept)) end
    return answer
";

/// Puts what a request used in the place of what it had claimed of budgets. `KEYS`: its entry, then the budgets. `ARGV`: for
/// how many milliseconds the request may not claim any more, should that come later than this (0: it has long claimed), then
/// what it used of each budget.
pub(super) const SETTLE: &str = "
    for i = 2, #KEYS do
        local claimed = redis.call('HGET', KEYS[1], KEYS[i])
        if claimed and redis.call('EXISTS', KEYS[i]) == 1 then
            redis.call('INCRBY', KEYS[i], string.format('%.0f', ARGV[i] - claimed))
        end
    end
    redis.call('DEL', KEYS[1])
    if ARGV[1] ~= '0' then
        redis.call('HSET', KEYS[1], 'over', 1)
        redis.call('PEXPIRE', KEYS[1], ARGV[1])
    end
";

/// Adds what was spent while the server was away. `KEYS`: an entry that says that this was done, then the budgets. `ARGV`:
/// for how many milliseconds that is known, and for each budget how much it is and for how many milliseconds it is kept.
pub(super) const SPEND: &str = "
    if not redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) then return end
    for i = 2, #KEYS do
        redis.call('INCRBY', KEYS[i], ARGV[2 * i - 2])
        redis.call('PEXPIRE', KEYS[i], ARGV[2 * i - 1])
    end
";

/// Moves a rate by so many microseconds.
pub(super) const ADD: &str = "
    local t = redis.call('TIME')
    local now = t[1] * 1000000 + t[2]
    local after = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + ARGV[1]
    if after > now then
        redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
    else
        redis.call('DEL', KEYS[1])
    end
";

/// Lets requests that are under way count for another lease, whether they are known or not. `KEYS`: the record of places, then
/// where each of them counts. `ARGV`: when the record began that is known (0: none is), for how long a new one is not whole
/// if another was known, the lease, the longest gap, and the name of each request. Answers when the record began.
pub(super) const TELL: &str = "
    local t = redis.call('TIME')
    local now = t[1] * 1000000 + t[2]
    local function text(number) return string.format('%.0f', number) end
    local began, whole, heard, clock = unpack(redis.call('HMGET', KEYS[1], 'began', 'whole', 'heard', 'clock'))
    local knows_another = ARGV[1] ~= '0' and ARGV[1] ~= began
    if not began then
        began, whole, heard, clock = text(now), now, now, now
        if knows_another then whole = now + ARGV[2] end
    elseif knows_another and now < began + ARGV[2] then
        whole = began + ARGV[2]
    end
    clock = clock + math.min(math.max(now - heard, 0), ARGV[4])
    redis.call('HSET', KEYS[1], 'began', began, 'whole', text(whole), 'heard', text(now), 'clock', text(clock))
    for i = 2, #KEYS do
        redis.call('ZADD', KEYS[i], text(clock + ARGV[3]), ARGV[i + 3])
        redis.call('PEXPIRE', KEYS[i], 86400000)
    end
    return began
";
