"""Ways out of `zim matte`: run lengths and polygons in records, and one COCO file for a batch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.errors import ImageError

_KEY = "coco"
"""Where an image's annotations travel in its record until `CocoFile` takes them."""


def describe(
    alphas: "Sequence[Float32[np.ndarray, 'h w']]",
    scores: Sequence[float],
    *,
    rle: bool,
    polygons: bool,
    coco: bool,
) -> dict[str, Any]:
    """Return what a record says of the objects besides their scores: their outlines and annotations, as asked for."""
    from zim_plugins.core.exchange import coco_annotation, object_record

    said: dict[str, Any] = {}
    pairs = list(zip(alphas, scores, strict=True))
    if rle or polygons:
        said["objects"] = [object_record(alpha, score=score, rle=rle, polygons=polygons) for alpha, score in pairs]
    if coco:
        said[_KEY] = [coco_annotation(alpha, score=score, polygons=polygons) for alpha, score in pairs]
    return said


class CocoFile:
    """The COCO file of a batch: collects the annotations of its records, and is written at the end."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.images: list[Any] = []

    def collect(self, record: dict[str, object]) -> None:
        """Take an image's annotations out of its record; images that failed have none and are left out."""
        from zim_plugins.core.exchange import CocoImage

        annotations: Any = record.pop(_KEY, None)
        if annotations is not None:
            width, height = record["width"], record["height"]
            assert isinstance(width, int) and isinstance(height, int)
            self.images.append(CocoImage(str(record["image"]), (height, width), annotations))

    def write(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            ImageError: the disk refuses.
        """
        from zim_plugins.core.exchange import coco_dataset
        from zim_plugins.imaging.files import atomic_write

        content = json.dumps(coco_dataset(self.images), ensure_ascii=True).encode()
        try:
            with atomic_write(self.path) as stream:
                stream.write(content)
        except OSError as error:
            raise ImageError(f"cannot write {self.path}: {error.strerror or error}") from error
