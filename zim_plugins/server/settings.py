"""Bounds of the server: what it takes, keeps and waits for, and who may ask."""

from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class ServerSettings:
    """Limits of one server.

    Example:
        >>> ServerSettings(token="a secret").token
        'a secret'
    """

    token: str | None = None
    """Secret that every request must show; None where only this machine can ask."""
    folders: tuple[Path, ...] = ()
    """Folders whose finished work adapters may show, and nothing else on the disk."""
    hosts: tuple[str, ...] = ()
    """Host names that requests may name besides the loopback ones, lower case, without a port."""
    takes_addresses: bool = False
    """Whether requests may name the server by any IP address: a rebound name is never one."""
    cookie_suffix: str = ""
    """Tells the cookies of two servers on one host apart: browsers share cookies between ports."""
    max_upload_bytes: int = 96 * MEBIBYTE
    """Largest request body."""
    max_pixels: int = 50_000_000
    """Largest image [px], refused from its header."""
    memory_bytes: int = 1024 * MEBIBYTE
    """What images, embeddings and mattes may take; the images used longest ago are let go."""
    max_images: int = 200
    """Images that are kept at once."""
    max_waiting: int = 32
    """Requests that wait for their turn; one more is answered with 503."""
    upload_seconds: float = 60.0
    """Longest time that a request body may take to arrive."""
    work_seconds: float = 300.0
    """Longest time that a request waits for its result."""
    preview_px: int = 1536
    """Longest side of what the page shows [px]; downloads have the image's own size."""
