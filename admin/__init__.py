"""Admin: people, rights and what happened. Called by people through the edge; calls scan, factory and anchor.

Owns the schema `admin`. It holds the service key `admin`, with which operators open factories and issue API keys today.
"""
