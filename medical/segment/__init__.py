"""Segmentation of one's own scans: prompts in voxels or mm, followed through the volume: `zim-medseg segment`."""
