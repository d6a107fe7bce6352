"""Overlap, surface distances, and statistics over cases."""
