"""What a finished run leaves: images, point cloud, mesh, video."""
