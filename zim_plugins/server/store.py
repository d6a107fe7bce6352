"""Images that browsers opened: each seen by its own session only, all together within a bound of memory."""

import secrets
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from zim_plugins.imaging.raster import Original

REMEMBERED_IDS = 10_000
"""Identifiers of images that were let go, kept to tell "gone" from "never there"."""


class UnknownImage(Exception):
    """This session has no image of this identifier."""


class ImageGone(Exception):
    """The image was let go to keep within the bound of memory."""


class StoreFull(Exception):
    """One image alone is more than may be kept."""


@dataclass(eq=False)
class OpenImage:
    """One image of one session."""

    session: str
    name: str
    """What the client calls it."""
    original: Original
    preview: UInt8[np.ndarray, "h w 3"]
    """sRGB, small enough to be shown."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    cache: dict[Any, Any] = field(default_factory=dict)
    """Encodings and mattes, as the engine keeps them."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) [px] of the image itself."""
        return self.original.size

    @property
    def scale(self) -> float:
        """Pixels of the preview per pixel of the image."""
        return max(self.preview.shape[:2]) / max(self.size)

    @property
    def held_bytes(self) -> int:
        """Memory that it takes."""
        return array_bytes([self.original.rgb, self.original.raster.pixels, self.preview, list(self.cache.values())])


class ImageStore:
    """Images by session and identifier, the one used longest ago let go first.

    Args:
        max_bytes: memory for all of them.
        max_images: how many at once.
    """

    def __init__(self, max_bytes: int, max_images: int) -> None:
        self.max_bytes = max_bytes
        self.max_images = max_images
        self._images: OrderedDict[str, OpenImage] = OrderedDict()
        self._gone: deque[tuple[str, str]] = deque(maxlen=REMEMBERED_IDS)
        self._untold: deque[tuple[str, str]] = deque(maxlen=REMEMBERED_IDS)
        """Let go since their sessions were last told."""
        self._lock = threading.Lock()

    def add(self, image: OpenImage) -> list[str]:
        """Keep an image; return the identifiers of images of the same session that were let go since it was last told.

        Raises:
            StoreFull: it does not fit even alone.
        """
        if image.held_bytes > self.max_bytes:
            raise StoreFull(
                f"the image takes {image.held_bytes >> 20} MiB, the server keeps at most {self.max_bytes >> 20} MiB: "
                "reduce it, or start the server with a larger --memory-mb"
            )
        with self._lock:
            self._images[image.id] = image
            self._trim(keep=image.id)
            told = [key for session, key in self._untold if session == image.session]
            others = [one for one in self._untold if one[0] != image.session]
            self._untold.clear()
            self._untold.extend(others)
            return told

    def trim(self, keep: str) -> None:
        """Let images go until the bound holds again, after one of them grew."""
        with self._lock:
            self._trim(keep)

    def get(self, session: str, image_id: str) -> OpenImage:
        """Return an image of a session, which counts as using it.

        Raises:
            UnknownImage: this session never had it.
            ImageGone: it had to make room.
        """
        with self._lock:
            image = self._images.get(image_id)
            if image is not None and secrets.compare_digest(image.session, session):
                self._images.move_to_end(image_id)
                return image
            if (session, image_id) in self._gone:
                raise ImageGone(f"the image {image_id} was let go to keep within memory: send it again")
        raise UnknownImage("this session has no such image")

    def drop(self, session: str, image_id: str) -> None:
        """Forget an image of a session.

        Raises:
            UnknownImage, ImageGone: as `get`.
        """
        self.get(session, image_id)
        with self._lock:
            self._images.pop(image_id, None)

    def of_session(self, session: str) -> list[OpenImage]:
        """Return a session's images, the one used last at the end."""
        with self._lock:
            return [image for image in self._images.values() if image.session == session]

    @property
    def held_bytes(self) -> int:
        """Memory that all images take."""
        with self._lock:
            return sum(image.held_bytes for image in self._images.values())

    def __len__(self) -> int:
        return len(self._images)

    def _trim(self, keep: str) -> None:
        held = {key: image.held_bytes for key, image in self._images.items()}
        total, gone = sum(held.values()), []
        for key in list(self._images):
            if total <= self.max_bytes and len(self._images) <= self.max_images:
                break
            if key == keep:
                continue
            gone.append(self._images.pop(key))
            total -= held[key]
        names = [(image.session, image.id) for image in gone]
        self._gone.extend(names)
        self._untold.extend(names)


def array_bytes(value: Any) -> int:
    """Return the bytes of all arrays and tensors that a nested value holds, each counted once.

    Example:
        >>> import numpy as np
        >>> pixels = np.zeros((2, 3), np.float32)
        >>> array_bytes({"a": pixels, "b": [pixels, np.zeros(5, np.uint8)]})
        29
    """
    seen: set[int] = set()
    total, todo = 0, [value]
    while todo:
        one = todo.pop()
        if id(one) in seen or one is None or isinstance(one, str | int | float | bool):
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list | tuple | set):
            todo += one
        elif isinstance(getattr(one, "nbytes", None), int):
            total += one.nbytes
        elif hasattr(one, "__dict__"):
            todo += vars(one).values()
    return total
