"""Training data packed into one file and kept on the device, where scenes and prompts are drawn too."""
