"""Label converter: any segmentation mask of an image in, the matte of the same object out (arXiv 2411.00626)."""
