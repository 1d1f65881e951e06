-- A chain's newest transaction, and which chains there are, without a walk over all transactions.
CREATE INDEX transactions_targets ON anchor.transactions (target, tree_id);
