"""Training samples: photographs, composites, prompts, and the batches made of them."""
