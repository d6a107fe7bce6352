"""`python -m zim_plugins.cli` is `zim`."""

from zim_plugins.cli import entrypoint

entrypoint()
