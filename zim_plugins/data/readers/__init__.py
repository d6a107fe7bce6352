"""Readers of published layouts; a data set is added here."""
