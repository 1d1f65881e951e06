-- name: hold_subject(subject)!
-- Two desks rule of one thing one after the other; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('scan.rulings/' || :subject, 0));

-- name: ruling_in_force(subject, kind)^
-- What stands now; by the partial index.
SELECT ruling_id, kind, subject, lifts, note, ruled_by, ruled_at FROM rulings
WHERE subject = :subject AND kind = :kind AND NOT lifts AND ended_by IS NULL;

-- name: ruling(ruling_id)^
-- One ruling, for whoever asks again.
SELECT ruling_id, kind, subject, lifts, note, ruled_by, ruled_at FROM rulings WHERE ruling_id = :ruling_id;

-- name: end_ruling(ended_by, ruling_id)!
-- Before its successor is there, as the index lets one be in force; the reference is looked at with the commit.
UPDATE rulings SET ended_by = :ended_by WHERE ruling_id = :ruling_id;

-- name: insert_ruling(ruling_id, kind, subject, lifts, note, ruled_by)^
-- Every process that remembers cards forgets those that it is about when this commits.
WITH made AS (
  INSERT INTO rulings (ruling_id, kind, subject, lifts, note, ruled_by)
  VALUES (:ruling_id, :kind, :subject, :lifts, :note, :ruled_by)
  RETURNING ruling_id, kind, subject, lifts, note, ruled_by, ruled_at
)
SELECT made.*, pg_notify('scan_rulings', subject) AS told FROM made;

-- name: is_product(product_id)$
-- Whether the factories have such a product.
SELECT EXISTS (SELECT FROM factory.product_cards WHERE product_id = :product_id);

-- name: is_batch(batch_id)$
-- Whether the factories have such a batch.
SELECT EXISTS (SELECT FROM factory.batch_owners WHERE batch_id = :batch_id);
