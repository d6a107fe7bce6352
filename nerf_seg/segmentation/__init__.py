"""Segmentation of a frozen radiance field by mattes of its views; needs no nerfstudio."""
