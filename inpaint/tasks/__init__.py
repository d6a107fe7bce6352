"""The tasks: removal, filling, replacement, and the matte that each starts from."""
