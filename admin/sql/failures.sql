-- name: charge(subject, now, forget_before, free_failures, longest)$
-- Counts an attempt as a failure before it is made, so that attempts at once do not count as one, and locks the subject
-- for 1, 2, 4 … seconds from the first that is not free. No row when it is locked.
INSERT INTO login_failures AS f (subject, failures, failed_at, locked_until) VALUES (:subject, 1, :now, :now)
ON CONFLICT (subject) DO UPDATE SET
  failures = CASE WHEN f.failed_at < :forget_before THEN 1 ELSE f.failures + 1 END,
  failed_at = :now,
  locked_until = :now + CASE
    WHEN f.failed_at < :forget_before OR f.failures + 1 < :free_failures THEN interval '0'
    ELSE make_interval(secs => least(:longest, 2 ^ least(f.failures + 1 - :free_failures, 30)))
  END
WHERE f.locked_until <= :now
RETURNING failures;

-- name: select_lock(subject)$
-- Until when a subject has to wait.
SELECT locked_until FROM login_failures WHERE subject = :subject;

-- name: clear_failures(subject)!
-- Whoever proved who they are is under no suspicion.
DELETE FROM login_failures WHERE subject = :subject;

-- name: refund(subject)!
-- Takes back one charge: an address may be many people's.
UPDATE login_failures SET failures = greatest(failures - 1, 0), locked_until = failed_at WHERE subject = :subject;

-- name: forget_failures(before)!
-- What is as good as forgotten.
DELETE FROM login_failures WHERE failed_at < :before;
