"""Selective transformation learning (STL): objects without fine edges, whose label is to come back unchanged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.training.samples.library import Library

SOFT_CLASSES = frozenset(
    """person bird cat dog horse sheep cow elephant bear zebra giraffe broccoli potted_plant teddy_bear hair_drier
    toothbrush kite bicycle motorcycle tennis_racket umbrella vase wine_glass""".split()
)
"""COCO classes with hair, fur, leaves, spokes, strings or glass: their labels are no mattes, so they are left out."""


def selective_pair(mask: Float32[np.ndarray, "h w"]) -> tuple[Bool[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Label and target of a segmentation sample: both are the mask itself, uncorrupted.

    Args:
        mask: object, 0 to 1 where it was resized.

    Returns:
        The label the network is given, and the matte it is to return.
    """
    label = mask > 0.5
    return label, label.astype(np.float32)


def without_soft_classes(library: Library, masks: Path) -> Library:
    """The library for STL: photographs whose object masks are all of classes with plain edges.

    Args:
        library: as `load_library` read it.
        masks: folder of object masks named `<class>_<number>_<photograph>.png`; photographs that none belongs to stay.
    """
    soft = {
        name.rsplit("_", 1)[1]
        for name in (p.stem for p in masks.glob("*_*_*.png"))
        if name.rsplit("_", 2)[0] in SOFT_CLASSES
    }
    return replace(library, photos=[p for p in library.photos if p.name not in soft])
