"""How good a removal is: composites with known truth, and the paper's experiment on COCO."""
