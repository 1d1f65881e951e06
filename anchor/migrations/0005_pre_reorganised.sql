-- A block is known by its hash: after a reorganisation another block has its number.
ALTER TABLE anchor.transactions ADD COLUMN block_hash bytea CHECK (octet_length(block_hash) = 32);
CREATE INDEX transactions_last ON anchor.transactions (chain_id, contract, block_number) WHERE state = 'final';

-- The chain can give a nonce back that another transaction has taken over meanwhile; it decides which of them is mined,
-- and the other one gets a new nonce. That no nonce is given out twice is next_nonce's affair, under the lease.
ALTER TABLE anchor.transactions DROP CONSTRAINT transactions_chain_id_sender_nonce_key;
CREATE INDEX transactions_nonces ON anchor.transactions (chain_id, sender, nonce);
CREATE INDEX attempts_nonces ON anchor.attempts (nonce);

-- A step fewer than before: what is signed is sent before anything else is done with it.
CREATE OR REPLACE FUNCTION anchor.check_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.fence < OLD.fence THEN
        RAISE EXCEPTION 'tree %: fence % is older than %', OLD.tree_id, NEW.fence, OLD.fence
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
        ('built', 'signed'), ('signed', 'sent'), ('sent', 'mined'), ('mined', 'final'),
        ('sent', 'built'), ('mined', 'sent'), ('final', 'sent')
    ) THEN
        RAISE EXCEPTION 'tree %: no step from % to %', OLD.tree_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
