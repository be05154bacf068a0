/**
 * The scripts that Redis runs. Each runs alone: between two scripts nothing of ours is half done.
 *
 * What all have in common: `KEYS` are in one slot of a cluster. The first two arguments are the clock and `notAfter`.
 * The answer begins with the time of the server; an answer of nothing else says that `notAfter` had passed, and that
 * nothing was done. Times are in microseconds since 2025, by the server's clock: such numbers are exact in a double,
 * with seven bits to spare. The clock is empty, but in tests: "=" and a time stands for that time, and a number is
 * added to the server's own.
 *
 * Numbers that become part of a text do so by `string.format`: Lua's own conversion keeps 14 digits. That of the
 * arguments of a command keeps all.
 */
import { sha1 } from "../data/sha1.ts";

/** A script, and the hash by which the server knows it. */
export class Script {
  readonly text: string;
  private hash: string | undefined = undefined;

  constructor(...parts: readonly string[]) {
    this.text = parts.join("").trim();
  }

  get sha(): string {
    this.hash ??= sha1(this.text);
    return this.hash;
  }
}

/** The beginning of 2025, in epoch milliseconds. */
export const EPOCH: number = Date.UTC(2025, 0, 1);

const TIME = `
local t = redis.call('TIME')
t = (t[1] - ${EPOCH / 1000}) * 1000000 + t[2]
local clock = ARGV[1]
if clock ~= '' then
  if string.sub(clock, 1, 1) == '=' then t = tonumber(string.sub(clock, 2)) else t = t + clock end
end
if t > tonumber(ARGV[2]) then return { t } end
`;

/**
 * The bucket of golang.org/x/time/rate, with Go's arithmetic, in a string of 32 bytes: `tokens last event most`, each
 * as a double. (Written out in digits they took a sixth of the script's time.)
 *
 * Between any two scripts:
 *
 * - there is no key, and the bucket is full; or `tokens` is what it held at `last`, negative while tokens to come are
 *   reserved;
 * - `event` is the time to act of the newest that was allowed, in nanoseconds after `last`: so it is a whole number
 *   that is exact in a double;
 * - `most` is the largest burst of those that have asked since the key was made, and the key lives at least until the
 *   bucket would be full by it. So a request of a smaller burst, as they come during a deploy, does not fill the
 *   bucket for one of a larger.
 *
 * If the clock is set back, `last` is later than now: then no tokens have come, and `last` goes back too with the next
 * change. Nothing is granted early by it.
 */
const BUCKET = `
local limit, burst = tonumber(ARGV[3]), tonumber(ARGV[4])
local tokens, last, event, most = burst, t, -1e18, burst

-- The tokens that come in so many nanoseconds, with Go's rounding: whole seconds and the rest apart.
local function gained(ns)
  local whole = math.floor(ns / 1e9)
  return (whole + (ns - whole * 1e9) / 1e9) * limit
end

local state = redis.call('GET', KEYS[1])
if state then
  tokens, last, event, most = struct.unpack('<dddd', state)
  if burst > most then most = burst end
  if t > last then tokens = tokens + gained((t - last) * 1000) end
  if tokens > burst then tokens = burst end
end
`;

// Keeps the bucket as it is at t. One that takes longer than 30 years to fill is kept for ever, and so is one by a
// test's clock.
const KEEP = `
state = struct.pack('<dddd', tokens, t, event, most)
local ms = math.ceil((most - tokens) / limit * 1000) + 1
if ms < 1e12 and string.sub(clock, 1, 1) ~= '=' then
  redis.call('SET', KEYS[1], state, 'PX', ms)
else
  redis.call('SET', KEYS[1], state)
end
`;

/**
 * Takes tokens. Arguments: limit, burst, and for each request n and the longest wait in nanoseconds. Answers for each
 * how long it is to wait, in nanoseconds: 0 for not at all; -1 where that would be longer, or n is over the burst, and
 * nothing was taken for it. Requests are served in their order.
 */
export const TAKE: Script = new Script(
  TIME,
  BUCKET,
  `
local reply, changed = { t }, false
for i = 5, #ARGV, 2 do
  local n = tonumber(ARGV[i])
  local left, wait = tokens - n, 0
  if left < 0 then wait = math.floor(-left / limit * 1e9) end
  if n > burst or wait > tonumber(ARGV[i + 1]) then
    reply[#reply + 1] = -1
  else
    tokens, event, changed = left, wait, true
    reply[#reply + 1] = wait
  end
end
if not changed then return reply end
`,
  KEEP,
  "return reply",
);

/**
 * Gives back what a request took that will not act. Arguments: limit, burst, n, the time of the answer to it, its wait,
 * and 1 if it has certainly not acted, else 0. Gives back nothing once its time to act has passed, unless it is the
 * newest and has certainly not acted; else the tokens that later requests do not depend on, and never more than it
 * took. Answers whether there were any.
 *
 * It does so once: the second key says that it has been done. A client may send again what was executed, if the
 * connection was cut before the answer. The key is kept for half a minute, which is longer than clients try to.
 */
export const GIVE_BACK: Script = new Script(
  TIME,
  BUCKET,
  `
local n, taken, wait = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local now, mine = (t - last) * 1000, (taken - last) * 1000 + wait
-- Times are rounded: where Go compares exactly, of several that are given back one after the other it loses some.
local newest = math.abs(mine - event) <= 2
if not state or mine < now and not (newest and ARGV[8] == '1') then return { t, 0 } end
-- The tokens that come until the newest may act are promised to those after this one.
local unused = n
if event > mine then unused = n - gained(event - mine) end
if unused <= 0 then return { t, 0 } end
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', 30000) then return { t, 0 } end
tokens = math.min(tokens + unused, burst)
-- If it was the newest, the one before it is now, as Go computes that.
local before = mine - math.floor(n / limit * 1e9)
if newest and before >= now then event = before end
event = math.max(event - now, -1e18)
`,
  KEEP,
  "return { t, 1 }",
);

/**
 * A semaphore, in four keys: the leases by their expiry, the waiters by their number, the waiters by the time until
 * which they count as alive, and a hash. The hash has for each lease `n fence`, for each waiter `n size lease channel`,
 * and three counters: `held`, `seq` and `fence`.
 *
 * Between any two scripts:
 *
 * - `held` is the sum of the units of all leases;
 * - an id is a lease, or a waiter, or neither;
 * - if anyone waits, the first that is alive does not fit: its n is over its size less `held`. Units may be free for
 *   smaller ones behind it, which do not overtake. Exception: until the next script, a lease that has expired still
 *   counts, and a waiter that is dead still stands before others.
 *
 * Each request brings the size that its own process knows. So while sizes differ, as during a deploy, the units held
 * are never above the largest.
 *
 * The fence of a lease is higher than those of all leases before it, even where all data were lost meanwhile: it is at
 * least the time of the server.
 *
 * Each key goes away a day after the last request or renewal, whatever has become of the processes: leases are shorter,
 * and the counters are not needed then.
 */
const SEMAPHORE = `
local DAY = 86400000
local leases, waiters, alive, hash = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local counters = redis.call('HMGET', hash, 'held', 'seq', 'fence')
local held, seq, fence = tonumber(counters[1] or 0), tonumber(counters[2] or 0), tonumber(counters[3] or 0)

-- Ends a lease, or the waiting of a waiter; says whether there was one.
local function end_lease(id)
  if redis.call('ZREM', leases, id) == 0 then return false end
  held = held - tonumber(string.match(redis.call('HGET', hash, id) or '0', '%S+'))
  redis.call('HDEL', hash, id)
  redis.call('HSET', hash, 'held', held)
  return true
end
local function end_wait(id)
  if redis.call('ZREM', waiters, id) == 0 then return end
  redis.call('ZREM', alive, id)
  redis.call('HDEL', hash, id)
end

-- PEXPIRE comes first: where memory is short, Redis refuses a ZADD to a script that has not written yet, and the
-- lease would be lost.
local function renew(id, lease)
  redis.call('PEXPIRE', leases, DAY)
  redis.call('ZADD', leases, t + lease, id)
end

local function grant(id, n, lease)
  held, fence = held + n, math.max(fence + 1, t)
  redis.call('ZADD', leases, t + lease, id)
  redis.call('PEXPIRE', leases, DAY)
  redis.call('HSET', hash, id, string.format('%.0f %.0f', n, fence), 'held', held, 'fence', fence)
end

-- Grants to the waiters at the front what fits, and tells them. Says whether anyone waits.
local function admit()
  while true do
    local id = redis.call('ZRANGE', waiters, 0, 0)[1]
    if not id then return false end
    local n, size, lease, channel = string.match(redis.call('HGET', hash, id) or '', '(%S+) (%S+) (%S+) (%S+)')
    if n and held + n > tonumber(size) then return true end
    end_wait(id)
    if n then
      grant(id, tonumber(n), tonumber(lease))
      redis.call('PUBLISH', channel, string.format('%s|%.0f|%.0f', id, fence, t + lease))
    end
  end
end

-- Drops the leases that have expired, and the waiters that are dead.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', t)) do end_lease(id) end
local waiting = redis.call('EXISTS', waiters) == 1
if waiting then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', t)) do end_wait(id) end
end
-- Somebody may have deleted the leases alone, to reset it.
if held > 0 and redis.call('EXISTS', leases) == 0 then held = 0 end
`;

/**
 * Takes units, or keeps the place of a waiter. Arguments: id, n, size, the lease and the time for which a waiter counts
 * as alive, both in microseconds, and the channel on which the waiter is told; an empty one if it is not to wait, which
 * is refused while others wait. Asked again with one id, it answers about the lease or the place that this has: the
 * lease is renewed, and the waiter counts as alive again.
 *
 * Answers 1 and the fence if the units are held; else 0, and for the first waiter, or one that is not to wait, in how
 * many microseconds the next lease expires (-1 if there is none).
 */
export const ACQUIRE: Script = new Script(
  TIME,
  SEMAPHORE,
  `
local id, n, size, lease = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local channel = ARGV[8]
if waiting then waiting = admit() end
local mine
if redis.call('ZSCORE', leases, id) then
  renew(id, lease)
  mine = tonumber(string.match(redis.call('HGET', hash, id) or '', '%S+ (%S+)') or 0)
elseif waiting and redis.call('ZSCORE', waiters, id) then
  redis.call('PEXPIRE', waiters, DAY)
  redis.call('PEXPIRE', alive, DAY)
  redis.call('ZADD', alive, t + ARGV[7], id)
elseif held + n <= size and not waiting then
  grant(id, n, lease)
  mine = fence
elseif channel ~= '' then
  seq = seq + 1
  redis.call('ZADD', waiters, seq, id)
  redis.call('ZADD', alive, t + ARGV[7], id)
  redis.call('PEXPIRE', waiters, DAY)
  redis.call('PEXPIRE', alive, DAY)
  redis.call('HSET', hash, id, table.concat({ ARGV[4], ARGV[5], ARGV[6], channel }, ' '), 'seq', seq)
end
redis.call('PEXPIRE', hash, DAY)
if mine then return { t, 1, mine } end
local next = -1
if channel == '' or redis.call('ZRANK', waiters, id) == 0 then
  local first = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
  if first[2] then next = math.max(first[2] - t, 0) end
end
return { t, 0, next }
`,
);

/** Renews a lease. Arguments: id, and the lease in microseconds. Answers 1, or 0 if the lease is not known any more. */
export const RENEW: Script = new Script(
  TIME,
  SEMAPHORE,
  `
local id, lease = ARGV[3], tonumber(ARGV[4])
local known = redis.call('ZSCORE', leases, id)
if known then renew(id, lease) end
if waiting then admit() end
redis.call('PEXPIRE', hash, DAY)
return { t, known and 1 or 0 }
`,
);

/** Ends the lease or the waiting of an id, if there is one. Argument: id. Answers 1 if there was a lease, else 0. */
export const RELEASE: Script = new Script(
  TIME,
  SEMAPHORE,
  `
local id = ARGV[3]
local known = end_lease(id)
-- The hash was gone, and is there again.
if known and not counters[1] then redis.call('PEXPIRE', hash, DAY) end
if waiting then
  if not known then end_wait(id) end
  admit()
end
return { t, known and 1 or 0 }
`,
);
