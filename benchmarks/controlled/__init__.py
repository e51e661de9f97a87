"""Controlled experiment: exact masks that break as SAM's do, and embeddings that are never in doubt."""
