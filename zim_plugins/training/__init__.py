"""Training ZIM: scenes, prompts, losses, hooks and the loop. Importing this package loads no torch."""
