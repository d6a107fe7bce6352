"""Medical images: promptable models on slices and volumes, measured: `zim-medseg`. Importing it loads nothing heavy."""

from typing import TYPE_CHECKING

from zim_plugins.faces import lazy_face

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

__all__, __getattr__ = lazy_face(
    __name__,
    {
        "io.errors": "ScanFault",
        "io.opening": "OpenedScan open_scan",
        "io.reading": "ReadingConfig",
        "metrics.overlap": "overlap",
        "metrics.surface": "surface_agreement",
        "segment.callables": "CallablePredictor",
        "segment.marks": "BoxMark ClickMark Marks gather_marks",
        "segment.scans": "SegmentConfig Segmented segment_scan",
    },
)
