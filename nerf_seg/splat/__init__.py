"""`zim-splat`: an object out of a scene of 3D Gaussians, from one click in one photograph. Needs no nerfstudio."""
