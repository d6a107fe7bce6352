"""Evaluation of removal: composites with known truth, and the paper's experiment on COCO."""
