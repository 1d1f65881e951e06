#!lua name=voketag_scan_v2

-- Everything that a scan counts, in one call for many scans. A function's meaning never changes under its name: another
-- meaning is another version, so that processes of two releases can share one server. The reference in plain Python is
-- tests/simulation/counters.py, and what the counts mean is said in scan/sessions.py and scan/factors.py.
--
-- Every value is one string of packed numbers, big-endian: a key costs its bytes and little more. A call reads all of its
-- keys at once and writes each that changed once, however many of its scans touch it: a call from here costs Valkey more
-- than what it calls.

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

-- server.call, which there is only once a function runs.
local call

local function now_in_microseconds()
  local time = call('TIME')
  return time[1] * MICROSECONDS + time[2]
end

-- GCRA by virtual scheduling (ATM Forum TM 4.0): microseconds to wait, 0 within the budget, and the next arrival time.
local function take(arrival, now, interval, burst)
  if arrival < now then
    arrival = now
  end
  local wait = arrival - now - (burst - 1) * interval
  if wait > 0 then
    return wait, arrival
  end
  return 0, arrival + interval
end

local function unpack_product(value)
  if not value then
    return {first = 0, arrival = 0, scans = 0, opened = 0, open = 0, confirmed = 0, country = 0, sessions = ''}
  end
  local first, arrival, scans, opened, open, confirmed, country = struct.unpack(PRODUCT, value)
  return {
    first = first, arrival = arrival, scans = scans, opened = opened, open = open, confirmed = confirmed,
    country = country, sessions = string.sub(value, PRODUCT_BYTES + 1)
  }
end

local function pack_product(p)
  return struct.pack(PRODUCT, p.first, p.arrival, p.scans, p.opened, p.open, p.confirmed, p.country) .. p.sessions
end

local function unpack_caller(value, second)
  local hour, minute = math.floor(second / HOUR), math.floor(second / MINUTE)
  if not value then
    return {
      arrival = 0, minute = minute, hour = hour, in_minute = 0, in_hour = 0, changes = 0, bad_tags = 0, last = 0
    }
  end
  local arrival, its_minute, its_hour, in_minute, in_hour, changes, bad_tags, last = struct.unpack(CALLER, value)
  if its_hour ~= hour then
    in_hour, changes, bad_tags, last = 0, 0, 0, 0
  end
  if its_minute ~= minute then
    in_minute = 0
  end
  return {
    arrival = arrival, minute = minute, hour = hour, in_minute = in_minute, in_hour = in_hour, changes = changes,
    bad_tags = bad_tags, last = last
  }
end

local function write_caller(key, c)
  local value = struct.pack(
    CALLER, c.arrival, c.minute, c.hour, c.in_minute, c.in_hour, c.changes, c.bad_tags, c.last)
  call('SET', key, value, 'EX', HOUR + MINUTE)
end

local function unpack_batch(value)
  if not value then
    return {products = 0, away = 0, sessions = 0}
  end
  local products, away, sessions = struct.unpack(BATCH, value)
  return {products = products, away = away, sessions = sessions}
end

local function unpack_tenant(value)
  return {arrival = tonumber(value or 0)}
end

local function more(count)
  return count < MOST and count + 1 or MOST
end

local function count_caller(c, product)
  c.changed = true
  c.in_minute, c.in_hour = more(c.in_minute), more(c.in_hour)
  if c.last ~= 0 and c.last ~= product then
    c.changes = more(c.changes)
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

local function count_batch(b, first, abroad)
  b.changed = true
  b.sessions = b.sessions + 1
  if first then
    b.products = b.products + 1
    if abroad then
      b.away = b.away + 1
    end
  end
end

-- The value behind a key as this call's scans have left it; `kind` is a kind of keys of `held`, `read` unpacks one.
local function at(held, kind, key, read)
  local found = held[kind][key]
  if not found then
    found = read(held.values[key], held.second)
    held[kind][key] = found
  end
  return found
end

-- The budgets of a scan: address prefix, device, code, factory; device and factory may be nil. Gives how long to wait, 0
-- when none is over, and with 0 has taken from all of them.
local function take_all(budgets, now, source, device, product, tenant)
  local wait, of_source = take(source.arrival, now, budgets[1], budgets[2])
  local longest, of_product, of_device, of_tenant = wait, nil, nil, nil
  wait, of_product = take(product.arrival, now, budgets[5], budgets[6])
  longest = math.max(longest, wait)
  if device then
    wait, of_device = take(device.arrival, now, budgets[3], budgets[4])
    longest = math.max(longest, wait)
  end
  if tenant then
    wait, of_tenant = take(tenant.arrival, now, budgets[7], budgets[8])
    longest = math.max(longest, wait)
  end
  if longest > 0 then
    return longest
  end
  source.arrival, product.arrival = of_source, of_product
  if device then
    device.arrival = of_device
  end
  if tenant then
    tenant.arrival, tenant.changed = of_tenant, true
  end
  return 0
end

-- One scan. Keys from `k` on: product, device, source, batch, factory. Arguments from `a` on: event id, product id, who,
-- the process's payload. Gives the microseconds to wait when a budget is over, else what the scan is told; a scan over a
-- budget counts nowhere.
local function count(held, keys, k, args, a)
  local flags, device_number, source_number, country, cell, market = struct.unpack(WHO, args[a + 2])
  local knows_caller = bit.band(flags, KNOWS_CALLER) ~= 0
  local knows_card = bit.band(flags, KNOWS_CARD) ~= 0
  local now, second = held.now, held.second
  local product = at(held, 'products', keys[k], unpack_product)
  local source = at(held, 'callers', keys[k + 2], unpack_caller)
  local device = knows_caller and at(held, 'callers', keys[k + 1], unpack_caller) or nil
  local tenant = knows_card and at(held, 'tenants', keys[k + 4], unpack_tenant) or nil
  local wait = take_all(held.budgets, now, source, device, product, tenant)
  if wait > 0 then
    return wait
  end
  local product_number = struct.unpack('>I4', args[a + 1], 13)
  product.scans, product.changed = product.scans + 1, true
  if product.first == 0 then
    product.first, product.country = now, country
  end
  local opened = false
  local a_minute, a_hour, a_changes, a_bad_tags = 0, 0, 0, 0
  if knows_caller then
    count_caller(device, product_number)
    opened = count_session(product, second, device_number, source_number, country, cell)
    a_minute, a_hour, a_changes, a_bad_tags = device.in_minute, device.in_hour, device.changes, device.bad_tags
  end
  count_caller(source, product_number)
  local products, away, sessions = 0, 0, 0
  if knows_card then
    local batch = at(held, 'batches', keys[k + 3], unpack_batch)
    if opened then
      local abroad = bit.band(flags, KNOWS_PLACE) ~= 0 and market ~= 0 and market ~= country
      count_batch(batch, product.opened == 1, abroad)
    end
    products, away, sessions = batch.products, batch.away, batch.sessions
  end
  local told = struct.pack(
    TOLD, now, product.first, product.scans, product.opened, product.open, product.confirmed, a_minute, a_hour,
    a_changes, a_bad_tags, source.in_minute, source.in_hour, source.changes, source.bad_tags, products, away, sessions,
    product.country
  ) .. product.sessions
  call('XADD', keys[1], '*', 'e', args[a], 'p', args[a + 1], 's', args[a + 3], 'c', told)
  return told
end

-- Everything that the scans of this call changed.
local function write(held)
  local pairs_to_set, last = {}, 0
  for key, product in pairs(held.products) do
    if product.changed then
      pairs_to_set[last + 1], pairs_to_set[last + 2] = key, pack_product(product)
      last = last + 2
    end
  end
  for key, b in pairs(held.batches) do
    if b.changed then
      pairs_to_set[last + 1], pairs_to_set[last + 2] = key, struct.pack(BATCH, b.products, b.away, b.sessions)
      last = last + 2
    end
  end
  call('MSET', unpack(pairs_to_set))
  for key, caller in pairs(held.callers) do
    if caller.changed then
      write_caller(key, caller)
    end
  end
  for key, tenant in pairs(held.tenants) do
    if tenant.changed then
      local ttl = math.ceil((tenant.arrival - held.now) / 1000)
      call('SET', key, string.format('%.0f', tenant.arrival), 'PX', ttl)
    end
  end
end

local function numbers(args, count_of_them)
  local list = {}
  for index = 1, count_of_them do
    list[index] = tonumber(args[index])
  end
  return list
end

-- Many scans. KEYS: the stream, the day's totals; then five for each scan. ARGV: interval in microseconds and burst of
-- the four budgets; then four for each scan. Gives for each what `count` gives.
local function scan(keys, args)
  call = server.call
  local now, found, values = now_in_microseconds(), call('MGET', unpack(keys, SHARED_KEYS + 1)), {}
  for index = 1, #found do
    values[keys[SHARED_KEYS + index]] = found[index]
  end
  local held = {
    now = now, second = math.floor(now / MICROSECONDS), budgets = numbers(args, 2 * LIMITS), values = values,
    products = {}, callers = {}, batches = {}, tenants = {}
  }
  local answers, counted = {}, 0
  for index = 0, (#args - 2 * LIMITS) / SCAN_ARGS - 1 do
    local k, a = SHARED_KEYS + 1 + index * SCAN_KEYS, 2 * LIMITS + 1 + index * SCAN_ARGS
    local answer = count(held, keys, k, args, a)
    answers[index + 1] = answer
    if type(answer) == 'string' then
      counted = counted + 1
    end
  end
  if counted > 0 then
    write(held)
    call('HINCRBY', keys[2], 'scans', counted)
  end
  return answers
end

-- A code that is not ours. KEYS: source, device or none. ARGV: interval and burst of the address prefix. Gives the
-- microseconds to wait.
local function probe(keys, args)
  call = server.call
  local now = now_in_microseconds()
  local second = math.floor(now / MICROSECONDS)
  for index, key in ipairs(keys) do
    local caller = unpack_caller(call('GET', key), second)
    if index == 1 then
      local wait, arrival = take(caller.arrival, now, tonumber(args[1]), tonumber(args[2]))
      if wait > 0 then
        return wait
      end
      caller.arrival = arrival
    end
    caller.bad_tags = more(caller.bad_tags)
    write_caller(key, caller)
  end
  return 0
end

-- Reports on a product. KEYS: the product. ARGV: how many are open, how many confirmed. Gives scans so far.
local function report(keys, args)
  call = server.call
  local product = unpack_product(call('GET', keys[1]))
  product.open = math.min(tonumber(args[1]), MOST)
  product.confirmed = math.min(tonumber(args[2]), MOST)
  call('SET', keys[1], pack_product(product))
  return product.scans
end

server.register_function('voketag_scan_v2', scan)
server.register_function('voketag_probe_v2', probe)
server.register_function('voketag_report_v2', report)
