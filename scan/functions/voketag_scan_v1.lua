#!lua name=voketag_scan_v1

-- A function's meaning never changes under its name: another meaning is another version, so that processes of two
-- releases can share one server.

local MICROSECONDS = 1000000

-- One call from the budget in `key` (GCRA, virtual scheduling; ATM Forum TM 4.0), which holds the theoretical arrival
-- time of the next one. Gives the microseconds to wait, 0 when the call is within the budget, and the time now.
local function take(key, interval, burst)
  local time = server.call('TIME')
  local now = time[1] * MICROSECONDS + time[2]
  local arrival = math.max(tonumber(server.call('GET', key) or 0), now)
  local wait = arrival - now - (burst - 1) * interval
  if wait > 0 then
    return wait, now
  end
  arrival = arrival + interval
  server.call('SET', key, string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000))
  return 0, now
end

-- KEYS: the product's counters, the caller's budget. ARGV: microseconds between calls in the long run, calls at once.
-- Gives {microseconds to wait, scans so far, first scan in microseconds since 1970}; a call over the budget counts
-- nowhere.
local function scan(keys, args)
  local wait, now = take(keys[2], tonumber(args[1]), tonumber(args[2]))
  if wait > 0 then
    return {wait, 0, 0}
  end
  local count = server.call('HINCRBY', keys[1], 'count', 1)
  if count == 1 then
    server.call('HSET', keys[1], 'first', string.format('%.0f', now))
    return {0, count, now}
  end
  return {0, count, tonumber(server.call('HGET', keys[1], 'first'))}
end

-- KEYS: the caller's budget. ARGV as above. For a code that has no product to count on: {microseconds to wait}.
local function probe(keys, args)
  local wait = take(keys[1], tonumber(args[1]), tonumber(args[2]))
  return {wait}
end

server.register_function('voketag_scan_v1', scan)
server.register_function('voketag_probe_v1', probe)
