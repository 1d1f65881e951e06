-- Tells whoever remembers product cards that those of a batch have changed: channel factory_cards, payload the batch's
-- id. A change of single products notifies with each product's id in the statement that makes it.
CREATE FUNCTION factory.tell_card_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('factory_cards', NEW.batch_id::text);
  RETURN NULL;
END $$;

CREATE TRIGGER batch_card_change AFTER UPDATE OF state ON factory.batches
  FOR EACH ROW WHEN (NEW.state IN ('COMPLETED', 'FAILED', 'CANCELLED') AND NEW.state IS DISTINCT FROM OLD.state)
  EXECUTE FUNCTION factory.tell_card_change();
