"""What may come after a model: its matte judged again by colours, by ViTMatte, or by the label converter."""
