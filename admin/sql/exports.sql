-- name: limit_idle(milliseconds)$
-- How long the transaction under way may wait for who reads it.
SELECT set_config('idle_in_transaction_session_timeout', :milliseconds, true);

-- name: export_users(first, last, factory_id)
-- People by when they were added, which their ids tell, without what proves who they are.
SELECT user_id::text, email, name, role, factory_id::text, state, iso_time(created_at), iso_time(updated_at) FROM users
WHERE user_id >= :first AND user_id < :last AND (:factory_id::uuid IS NULL OR factory_id = :factory_id)
ORDER BY user_id;

-- name: export_scans(first, last, from_time, to_time, factory_id)
-- Scans about as they were written, month by month: the id names the month, the time the pages (BRIN) in it.
SELECT event_id::text, iso_time(at), product_id::text, batch_id::text, factory_id::text, verdict, risk, leading_factor,
  country, source
FROM scan.exported_scans
WHERE event_id >= :first AND event_id < :last AND at >= :from_time AND at < :to_time
  AND (:factory_id::uuid IS NULL OR factory_id = :factory_id);

-- name: export_products(first, last, factory_id)
-- Products by the month that they were issued in.
SELECT product_id::text, batch_id::text, batch_name, factory_id::text, factory_name, index, state, attributes
FROM factory.exported_products
WHERE product_id >= :first AND product_id < :last AND (:factory_id::uuid IS NULL OR factory_id = :factory_id);

-- name: export_reports(first, last, factory_id, contacts)
-- Reports by when they came; whoever gave a contact gave it to admins.
SELECT report_id::text, case_id::text, iso_time(reported_at), state, kind, product_id::text, code, country_code, text, note,
  CASE WHEN :contacts::boolean THEN contact END
FROM scan.exported_reports report
WHERE report_id >= :first AND report_id < :last
  AND (:factory_id::uuid IS NULL OR product_id IN (
    SELECT product.product_id FROM factory.exported_products product
    WHERE product.product_id = report.product_id AND product.factory_id = :factory_id))
ORDER BY report_id;

-- name: export_audit(from_time, to_time, factory_id)
-- The audit log in its order, with the text that was hashed; of a factory what it did itself.
SELECT number, source, audit_id::text, iso_time(at), actor_kind, actor_id, actor_role, method, resource, request_id::text,
  address_prefix, result, detail
FROM audit_chain
WHERE at >= :from_time AND at < :to_time
  AND (:factory_id::uuid IS NULL OR actor_kind = 'factory' AND actor_id = :factory_id::uuid::text)
ORDER BY number;
