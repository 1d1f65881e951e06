-- The log of webhooks is kept for 30 days, and then removed from the oldest on, each event with all that came of it.

CREATE INDEX webhook_events_by_age ON webhook_events (event_id);
CREATE INDEX webhook_deliveries_by_event ON webhook_deliveries (factory_id, event_id);

GRANT DELETE ON webhook_events, webhook_deliveries, webhook_attempts TO voketag_factory;
