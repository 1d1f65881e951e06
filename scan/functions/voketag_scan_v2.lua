#!lua name=voketag_scan_v2

-- Everything that a scan counts, in one call for many scans. A function's meaning never changes under its name: another
-- meaning is another version, so that processes of two releases can share one server. The reference in plain Python is
-- tests/simulation/counters.py, and what the counts mean is said in scan/sessions.py and scan/factors.py.
--
-- Every value is one string of packed numbers, big-endian: a key costs its bytes and little more, and is one GET and one
-- SET whatever it counts.

local MICROSECONDS = 1000000
local DAY, HOUR, MINUTE = 86400, 3600, 60
local MOST = 65535
local KEPT, PER_SOURCE = 24, 3
local SCAN_KEYS, SCAN_ARGS, SHARED_KEYS, LIMITS = 5, 4, 2, 4

-- A product: first scan and theoretical arrival time of the next one in microseconds, scans, sessions ever opened,
-- reports open and confirmed, the country of the first scan; then its last sessions, oldest first.
local PRODUCT, PRODUCT_BYTES = '>I8I8I4I4I2I2I2', 30
-- A session: its last scan in seconds, device, source, country, cell.
local SESSION, SESSION_BYTES = '>I4I4I2I2I2', 14
-- A device or an address prefix: theoretical arrival time, minute, hour, scans in either, changes of product, bad tags,
-- the last product.
local CALLER, CALLER_BYTES = '>I8I4I4I2I2I2I2I4', 28
-- A batch: products scanned, those first scanned outside their market, sessions.
local BATCH, BATCH_BYTES = '>I4I4I4', 12
-- Who scans: what is known (1 the caller, 2 the card, 4 the place), device, source, country, cell, market.
local WHO = '>BI4I2I2I2I2'
local KNOWS_CALLER, KNOWS_CARD, KNOWS_PLACE = 1, 2, 4
-- What a scan is told: time and first scan in microseconds, scans, sessions ever opened, reports open and confirmed, then
-- minute, hour, changes and bad tags of the device and of the source, the batch, the country of the first scan; the
-- product's sessions follow.
local TOLD = '>I8I8I4I4I2I2I2I2I2I2I2I2I2I2I4I4I4I2'

local function now_in_microseconds()
  local time = server.call('TIME')
  return time[1] * MICROSECONDS + time[2]
end

-- GCRA by virtual scheduling (ATM Forum TM 4.0): microseconds to wait, 0 within the budget, and the next arrival time.
local function take(arrival, now, interval, burst)
  arrival = math.max(arrival, now)
  local wait = arrival - now - (burst - 1) * interval
  if wait > 0 then
    return wait, arrival
  end
  return 0, arrival + interval
end

local function read_product(key)
  local value = server.call('GET', key)
  if not value then
    return {first = 0, arrival = 0, scans = 0, opened = 0, open = 0, confirmed = 0, country = 0, sessions = ''}
  end
  local first, arrival, scans, opened, open, confirmed, country = struct.unpack(PRODUCT, value)
  local sessions = string.sub(value, PRODUCT_BYTES + 1)
  return {
    first = first, arrival = arrival, scans = scans, opened = opened, open = open, confirmed = confirmed,
    country = country, sessions = sessions
  }
end

local function write_product(key, p)
  local head = struct.pack(PRODUCT, p.first, p.arrival, p.scans, p.opened, p.open, p.confirmed, p.country)
  server.call('SET', key, head .. p.sessions)
end

local function read_caller(key, second)
  local value = server.call('GET', key)
  local c = {arrival = 0, minute = 0, hour = 0, in_minute = 0, in_hour = 0, changes = 0, bad_tags = 0, last = 0}
  if value then
    c.arrival, c.minute, c.hour, c.in_minute, c.in_hour, c.changes, c.bad_tags, c.last = struct.unpack(CALLER, value)
  end
  local hour, minute = math.floor(second / HOUR), math.floor(second / MINUTE)
  if c.hour ~= hour then
    c.hour, c.in_hour, c.changes, c.bad_tags, c.last = hour, 0, 0, 0, 0
  end
  if c.minute ~= minute then
    c.minute, c.in_minute = minute, 0
  end
  return c
end

local function write_caller(key, c)
  local value = struct.pack(
    CALLER, c.arrival, c.minute, c.hour, c.in_minute, c.in_hour, c.changes, c.bad_tags, c.last)
  server.call('SET', key, value, 'EX', HOUR + MINUTE)
end

local function more(count, by)
  return math.min(count + by, MOST)
end

local function count_caller(c, product)
  c.in_minute, c.in_hour = more(c.in_minute, 1), more(c.in_hour, 1)
  if c.last ~= 0 and c.last ~= product then
    c.changes = more(c.changes, 1)
  end
  c.last = product
end

-- Goes on with the session of the same device in the same place within a day, or opens one; a source opens at most three
-- a day. Gives whether one was opened.
local function count_session(p, second, device, source, country, cell)
  local mine = struct.pack('>I4', device)
  local place = struct.pack('>I2I2', country, cell)
  local from_source = 0
  local fresh = struct.pack(SESSION, second, device, source, country, cell)
  for start = 1, #p.sessions, SESSION_BYTES do
    local at, _, its_source = struct.unpack('>I4I4I2', p.sessions, start)
    if at > second - DAY then
      local same_device = string.sub(p.sessions, start + 4, start + 7) == mine
      if same_device and string.sub(p.sessions, start + 10, start + 13) == place then
        p.sessions = string.sub(p.sessions, 1, start - 1) .. string.sub(p.sessions, start + SESSION_BYTES) .. fresh
        return false
      end
      if its_source == source then
        from_source = from_source + 1
      end
    end
  end
  if from_source >= PER_SOURCE then
    return false
  end
  p.opened = p.opened + 1
  p.sessions = string.sub(p.sessions .. fresh, -KEPT * SESSION_BYTES)
  return true
end

local function count_batch(key, opened, first, abroad)
  local value = server.call('GET', key)
  local products, away, sessions = 0, 0, 0
  if value then
    products, away, sessions = struct.unpack(BATCH, value)
  end
  if opened then
    sessions = sessions + 1
    if first then
      products = products + 1
      if abroad then
        away = away + 1
      end
    end
    server.call('SET', key, struct.pack(BATCH, products, away, sessions))
  end
  return products, away, sessions
end

-- The budgets of a scan: address prefix, device, code, factory; each {interval, burst}. Gives how long to wait, 0 when
-- none is over, and with 0 has taken from all of them.
local function take_all(budgets, now, source, device, product, tenant)
  local waits, arrivals = {}, {}
  for index, holder in ipairs({source, device, product, tenant}) do
    waits[index], arrivals[index] = take(holder.arrival, now, budgets[index][1], budgets[index][2])
  end
  local wait = math.max(unpack(waits))
  if wait > 0 then
    return wait
  end
  source.arrival, device.arrival, product.arrival, tenant.arrival = unpack(arrivals)
  return 0
end

local function activity(c)
  return c.in_minute, c.in_hour, c.changes, c.bad_tags
end

-- One scan. `keys`: product, device, source, batch, factory. `args`: event id, product id, who, the process's payload.
-- Gives the microseconds to wait when a budget is over, else what the scan is told; a scan over a budget counts nowhere.
local function count(keys, args, budgets, shared, now)
  local flags, device_number, source_number, country, cell, market = struct.unpack(WHO, args[3])
  local knows_caller = bit.band(flags, KNOWS_CALLER) ~= 0
  local knows_card = bit.band(flags, KNOWS_CARD) ~= 0
  local second = math.floor(now / MICROSECONDS)
  local product, source = read_product(keys[1]), read_caller(keys[3], second)
  local device = knows_caller and read_caller(keys[2], second) or {arrival = 0}
  local tenant = {arrival = knows_card and tonumber(server.call('GET', keys[5]) or 0) or 0}
  local wait = take_all(budgets, now, source, device, product, tenant)
  if wait > 0 then
    return wait
  end
  local product_number = struct.unpack('>I4', args[2], 13)
  product.scans = product.scans + 1
  if product.first == 0 then
    product.first, product.country = now, country
  end
  local opened = false
  if knows_caller then
    count_caller(device, product_number)
    write_caller(keys[2], device)
    opened = count_session(product, second, device_number, source_number, country, cell)
  end
  count_caller(source, product_number)
  write_caller(keys[3], source)
  write_product(keys[1], product)
  local products, away, sessions = 0, 0, 0
  if knows_card then
    local ttl = math.ceil((tenant.arrival - now) / 1000)
    server.call('SET', keys[5], string.format('%.0f', tenant.arrival), 'PX', ttl)
    local abroad = bit.band(flags, KNOWS_PLACE) ~= 0 and market ~= 0 and market ~= country
    products, away, sessions = count_batch(keys[4], opened, product.opened == 1, abroad)
  end
  local a, b, c, d = 0, 0, 0, 0
  if knows_caller then
    a, b, c, d = activity(device)
  end
  local e, f, g, h = activity(source)
  local told = struct.pack(
    TOLD, now, product.first, product.scans, product.opened, product.open, product.confirmed,
    a, b, c, d, e, f, g, h, products, away, sessions, product.country) .. product.sessions
  server.call('XADD', shared[1], '*', 'e', args[1], 'p', args[2], 's', args[4], 'c', told)
  return told
end

local function slice(list, first, length)
  local part = {}
  for index = 1, length do
    part[index] = list[first + index - 1]
  end
  return part
end

local function budgets_of(args)
  local budgets = {}
  for index = 1, LIMITS do
    budgets[index] = {tonumber(args[2 * index - 1]), tonumber(args[2 * index])}
  end
  return budgets
end

-- Many scans. KEYS: the stream, the day's totals; then five for each scan. ARGV: interval in microseconds and burst of
-- the four budgets; then four for each scan. Gives for each what `count` gives.
local function scan(keys, args)
  local now, budgets, shared = now_in_microseconds(), budgets_of(args), slice(keys, 1, SHARED_KEYS)
  local answers, counted = {}, 0
  for index = 0, (#args - 2 * LIMITS) / SCAN_ARGS - 1 do
    local its_keys = slice(keys, SHARED_KEYS + 1 + index * SCAN_KEYS, SCAN_KEYS)
    local its_args = slice(args, 2 * LIMITS + 1 + index * SCAN_ARGS, SCAN_ARGS)
    local answer = count(its_keys, its_args, budgets, shared, now)
    answers[index + 1] = answer
    if type(answer) == 'string' then
      counted = counted + 1
    end
  end
  if counted > 0 then
    server.call('HINCRBY', shared[2], 'scans', counted)
  end
  return answers
end

-- A code that is not ours. KEYS: source, device or none. ARGV: interval and burst of the address prefix. Gives the
-- microseconds to wait.
local function probe(keys, args)
  local now = now_in_microseconds()
  local second = math.floor(now / MICROSECONDS)
  for index, key in ipairs(keys) do
    local caller = read_caller(key, second)
    if index == 1 then
      local wait, arrival = take(caller.arrival, now, tonumber(args[1]), tonumber(args[2]))
      if wait > 0 then
        return wait
      end
      caller.arrival = arrival
    end
    caller.bad_tags = more(caller.bad_tags, 1)
    write_caller(key, caller)
  end
  return 0
end

-- Reports on a product. KEYS: the product. ARGV: how many are open, how many confirmed. Gives scans so far.
local function report(keys, args)
  local product = read_product(keys[1])
  product.open = math.min(tonumber(args[1]), MOST)
  product.confirmed = math.min(tonumber(args[2]), MOST)
  write_product(keys[1], product)
  return product.scans
end

server.register_function('voketag_scan_v2', scan)
server.register_function('voketag_probe_v2', probe)
server.register_function('voketag_report_v2', report)
