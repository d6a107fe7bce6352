"""NeRF segmentation: the mattes of a few views carried into a radiance field."""
