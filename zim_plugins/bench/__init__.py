"""Speed of this project on this machine, compared with its public peers and with the machine's limits."""
