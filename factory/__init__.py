"""Factory: takes orders for products, issues them, builds the tree of each batch and follows its root to the chain.

Called by factories' systems through the edge with an API key, and by admin and scan with a service token. Calls anchor,
and the URLs that factories registered as webhooks.

Owns the schema `factory`: factories, api_keys, usage, batches, batch_transitions, chunks, tiles, products, finality,
webhook_{endpoints,events,deliveries,attempts}, idempotency, audit, and the job queue. scan reads the view
`product_cards` alone, admin the view `audit_rows`.

The server holds the keyring, the root of API keys and the key of page tokens; the worker holds the service's identity
key; both hold the root of webhooks' keys. The worker needs no keyring: the tree commits to product ids, not to tokens.
"""
