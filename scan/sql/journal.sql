-- name: journal_position(shard)^
-- Where to go on reading, and the months that there are for what is read.
SELECT last_id, months.since, months.until
FROM stream_offset,
  (SELECT min(month) AS since, max(month) + interval '1 month' AS until FROM event_months() AS month) AS months
WHERE shard = :shard;

-- name: journal_shards()
-- Those that there are no more in the settings are written to their end too.
SELECT shard FROM stream_offset;

-- name: insert_shard(shard)!
-- A stream that nobody has read yet.
INSERT INTO stream_offset (shard) VALUES (:shard) ON CONFLICT DO NOTHING;

-- name: lock_offset(shard)$
-- Held to the end of the transaction: nobody else moves it, and what was read is still the next to be written.
SELECT last_id FROM stream_offset WHERE shard = :shard FOR UPDATE;

-- name: move_offset(shard, last_id)!
-- In the transaction that writes the events: both happen or neither.
UPDATE stream_offset SET last_id = :last_id WHERE shard = :shard;

-- name: recorded_events(product_ids, event_ids, first_id, last_id)
-- Those of these events that are in the journal; the bounds leave most months out.
SELECT event_id FROM events
JOIN unnest(:product_ids::uuid[], :event_ids::uuid[]) AS asked (product_id, event_id) USING (product_id, event_id)
WHERE events.event_id BETWEEN :first_id AND :last_id;

-- name: events_in_ledger(first, past)
-- The rows of so many places of the ledger, for whoever audits it; all of them when two claim one place.
SELECT ledger_index, event_id, product_id, at, verdict, risk, risk_version, personal, blind, prefix_hmac, device_hmac
FROM events WHERE ledger_index >= :first AND ledger_index < :past ORDER BY ledger_index;

-- name: past_events(since_id, until_id, since, until, factory_id)
-- Scans of a span of time, for whoever judges them anew: ids leave months out, times what does not lie in the span.
SELECT verdict, risk, facts FROM events
WHERE event_id >= :since_id AND event_id < :until_id AND at >= :since AND at < :until
  AND (:factory_id::uuid IS NULL OR factory_id = :factory_id);

-- name: logged_event(product_id, event_id)^
-- One event as its audit reads it; by primary key, in the month that its id names.
SELECT ledger_index, event_id, product_id, at, verdict, risk, risk_version, personal, blind, prefix_hmac, device_hmac
FROM events WHERE product_id = :product_id AND event_id = :event_id;

-- name: insert_dead(shard, stream_id, reason, fields)!
-- May be set aside before, when the stream was read again after Valkey lost what it knew last.
INSERT INTO dead_entries (shard, stream_id, reason, fields) VALUES (:shard, :stream_id, :reason, :fields)
ON CONFLICT DO NOTHING;

-- name: ensure_event_months(months_ahead)$
-- Runs as the owner: this role makes no tables.
SELECT ensure_event_months(:months_ahead);

-- name: drop_event_months(months_kept)$
-- Runs as the owner: this role drops no tables.
SELECT drop_event_months(:months_kept);
