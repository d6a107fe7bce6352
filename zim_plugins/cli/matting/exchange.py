"""Ways out of `zim matte`: run lengths and polygons in records, and one COCO file for a batch."""

import json
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.errors import ImageError

if TYPE_CHECKING:
    from zim_plugins.cli.matting.whole import WholeMattes
    from zim_plugins.imaging.image import Image

_KEY = "coco"
"""Where an image's annotations travel in its record until `CocoFile` takes them."""


def describe(
    alphas: "Collection[Float32[np.ndarray, 'h w']] | WholeMattes",
    scores: Sequence[float],
    *,
    rle: bool,
    polygons: bool,
    coco: bool,
) -> dict[str, Any]:
    """Return what a record says of the objects besides their scores: their outlines and annotations, as asked for."""
    from zim_plugins.core.exchange import coco_annotation, object_record

    said: dict[str, Any] = {}
    for alpha, score in zip(alphas, scores, strict=True) if rle or polygons or coco else ():
        if rle or polygons:
            one = object_record(alpha, score=score, rle=rle, polygons=polygons)
            said.setdefault("objects", []).append(one)
        if coco:
            said.setdefault(_KEY, []).append(coco_annotation(alpha, score=score, polygons=polygons))
    if coco:
        said.setdefault(_KEY, [])  # an image without objects is in the file, too
    return said


def labelme_file(image: "Image", alphas: "Iterable[Float32[np.ndarray, 'h w']]", label: str, place: Path) -> bytes:
    """Return the outlines of an image's objects as labelme's JSON.

    Args:
        image: which the document names by its place.
        alphas: of the objects, at the image's size.
        place: where the document will lie, from which the image's place is named.

    Raises:
        ImageError: the image came through standard input, and has no place.
    """
    from zim_plugins.core.exchange import labelme_document
    from zim_plugins.imaging.sources import SAMPLE_PREFIX, STDIN, sample_path, split_page

    if image.name == STDIN:
        raise ImageError("labelme's JSON names its image by its place, and standard input has none: name a file")
    is_sample = image.name.startswith(SAMPLE_PREFIX)
    file = sample_path(image.name) if is_sample else Path(split_page(image.name)[0])
    try:
        named = os.path.relpath(file, place.parent)
    except ValueError:  # another drive
        named = os.path.abspath(file)
    document = labelme_document(Path(named).as_posix(), image.size, alphas)
    for shape in document["shapes"]:
        shape["label"] = label
    return json.dumps(document, ensure_ascii=True, indent=2).encode()


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
