"""The whole mesh on one machine: PostgreSQL, Valkey, the dev chain, Envoy and the services, as any user."""
