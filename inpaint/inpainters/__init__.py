"""Fillers of holes, and the register that makes them by name."""
