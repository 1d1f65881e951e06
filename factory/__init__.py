"""Factory: takes orders for products, issues them, builds the tree of each batch and follows its root to the chain.

Called by factories' systems through the edge with an API key, and by admin with a service token. Calls anchor.

Owns the schema `factory`: factories, api_keys, batches, batch_transitions, chunks, tiles, products, finality,
idempotency, audit, and the job queue. scan reads the view `product_cards` alone, admin the view `audit_rows`.

The server holds the keyring, the root of API keys and the key of page tokens; the worker holds the service's identity
key and no other secret: the tree commits to product ids, not to tokens.
"""
