-- What a time-stamp authority answered, a TimeStampResp of RFC 3161 in DER, and the time that is in it. A chain's stamp has
-- neither: its evidence is in `transactions`.
ALTER TABLE anchor.stamps
    ADD COLUMN evidence bytea,
    ADD COLUMN stamped_at timestamptz,
    ADD CHECK ((evidence IS NULL) = (stamped_at IS NULL));
ALTER TABLE anchor.stamps ALTER evidence SET STORAGE EXTERNAL;  -- signatures do not compress
