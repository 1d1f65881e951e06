"""The edge: Envoy's configuration, made from settings and from the contract."""
