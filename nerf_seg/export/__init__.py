"""Results of a finished run: images, point cloud, mesh, video."""
