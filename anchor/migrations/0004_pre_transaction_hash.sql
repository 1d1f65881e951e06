-- Registrations by the transaction that they stand in, which may be one that no attempt knows.
CREATE INDEX transactions_hash ON anchor.transactions (hash) WHERE hash IS NOT NULL;
