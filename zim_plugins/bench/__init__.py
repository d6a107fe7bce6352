"""How fast this project is on this machine, beside its public peers and beside what the machine can do."""
