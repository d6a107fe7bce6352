"""Additions to nerfstudio's own classes: the viewer's panel, the NeRF that a run starts from."""
