"""Checkpoints: their records, the cache they are fetched into, and this project's weight files."""
