"""Refinement of a model's matte: by colours, by ViTMatte, or by the label converter."""
