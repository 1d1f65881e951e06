-- name: read_freeze()^
-- Whether anchoring stands still.
SELECT frozen, why, changed_at FROM control;

-- name: is_frozen()$
-- The submitter asks before it closes a window, signs or sends.
SELECT frozen FROM control;

-- name: set_freeze(frozen, why)^
-- Freezes or goes on; the time is that of the change, so that doing it twice changes no time.
UPDATE control SET frozen = :frozen, why = :why,
    changed_at = CASE WHEN frozen = :frozen THEN changed_at ELSE clock_timestamp() END
RETURNING frozen, why, changed_at;

-- name: retry_transaction(tree_id)!
-- What was sent before this moment is to be sent again; what is in a block is left alone.
UPDATE transactions SET retry_at = clock_timestamp()
WHERE tree_id = :tree_id AND state IN ('built', 'signed', 'sent');
