"""Label converter: any segmentation mask of a picture in, the matte of the same object out (arXiv 2411.00626)."""
