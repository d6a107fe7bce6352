"""The trained NeRF: found, checked, opened and rendered."""
