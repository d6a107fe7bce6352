"""Scenes of 3D Gaussians: files, cameras, and how much of each pixel every Gaussian is. Needs no nerfstudio."""
