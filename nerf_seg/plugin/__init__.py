"""What a run adds around nerfstudio's own classes: the viewer's panel, the NeRF a run starts from."""
