"""The protocol: prompts from a reference, simulated users, models, and the records of a scan."""
