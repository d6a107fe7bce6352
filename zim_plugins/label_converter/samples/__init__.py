"""Training samples of the label converter."""
