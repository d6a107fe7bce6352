"""Medical images: promptable models on slices and volumes, measured: `zim-medseg`. Importing it loads nothing heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .io.errors import ScanFault as ScanFault
    from .io.opening import OpenedScan as OpenedScan
    from .io.opening import open_scan as open_scan
    from .io.reading import ReadingConfig as ReadingConfig
    from .metrics.overlap import overlap as overlap
    from .metrics.surface import surface_agreement as surface_agreement
    from .segment.callables import CallablePredictor as CallablePredictor
    from .segment.marks import BoxMark as BoxMark
    from .segment.marks import ClickMark as ClickMark
    from .segment.marks import Marks as Marks
    from .segment.marks import gather_marks as gather_marks
    from .segment.scans import SegmentConfig as SegmentConfig
    from .segment.scans import Segmented as Segmented
    from .segment.scans import segment_scan as segment_scan

_HOME = {
    "BoxMark": ".segment.marks",
    "CallablePredictor": ".segment.callables",
    "ClickMark": ".segment.marks",
    "Marks": ".segment.marks",
    "OpenedScan": ".io.opening",
    "ReadingConfig": ".io.reading",
    "ScanFault": ".io.errors",
    "SegmentConfig": ".segment.scans",
    "Segmented": ".segment.scans",
    "gather_marks": ".segment.marks",
    "open_scan": ".io.opening",
    "overlap": ".metrics.overlap",
    "segment_scan": ".segment.scans",
    "surface_agreement": ".metrics.surface",
}

__all__ = [
    "BoxMark",
    "CallablePredictor",
    "ClickMark",
    "Marks",
    "OpenedScan",
    "ReadingConfig",
    "ScanFault",
    "SegmentConfig",
    "Segmented",
    "gather_marks",
    "open_scan",
    "overlap",
    "segment_scan",
    "surface_agreement",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
