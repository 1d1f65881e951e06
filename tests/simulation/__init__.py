"""Seeded lives of products and codes, honest and not, to judge the risk of their scans by."""
