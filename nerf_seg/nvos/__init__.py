"""Evaluation of 3D segmentation: NVOS, and SPIn-NeRF's and LERF-Mask's labels with the same runner."""
