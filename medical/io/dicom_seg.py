"""DICOM segmentation objects: read as labels of a series, written beside it without its patient."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from zim_plugins.core import MissingExtra
from zim_plugins.imaging import atomic_path

from .association import Kept, make_uid, named_instances, source_headers
from .dicom import Series
from .dicom_pixels import functional_group, import_pydicom, read_header
from .errors import ScanFault
from .placement import LPS_TO_RAS, MAX_OFF_MM, MAX_TURN, RELATIVE_OFF, Planes, SeriesSpace

if TYPE_CHECKING:
    import pydicom

_DAMAGED = (KeyError, ValueError, AttributeError, TypeError, IndexError, RuntimeError, OSError, AssertionError)
MAX_OFF_PX = 0.02
"""Distance of a segmentation's pixel centres from the series' up to which they are the same."""


def import_highdicom() -> Any:
    """The highdicom package; MissingExtra names the remedy where it is absent."""
    try:
        import highdicom
        import highdicom.seg
    except ImportError as error:
        raise MissingExtra("highdicom", "medical") from error
    return highdicom


def read_segmentation(
    path: Path, series: Series, notes: list[str] | None = None, *, nearest: bool = False
) -> list[tuple[str, Bool[np.ndarray, "n h w"]]]:
    """Read the segments of an object as (label, mask on the series' own frames); segments may overlap.

    Frames are laid on the slices at whose place they lie; what a frame says of its source is asked only where either
    does not say where it lies.

    Args:
        series: that it was made of.
        notes: takes what was done beyond that.
        nearest: pixels that lie between the segmentation's take the nearest one.

    Raises:
        ScanFault: damaged, made of another series, or between its slices or pixels.
    """
    pydicom = import_pydicom()
    try:
        dataset = pydicom.dcmread(path)
        pixels = pydicom.pixels.pixel_array(dataset)
        labels = {int(s.SegmentNumber): str(s.SegmentLabel) for s in dataset.SegmentSequence}
        kind = str(dataset.get("SegmentationType", "BINARY"))
        count = int(dataset.get("NumberOfFrames") or 1)
        frames = pixels.reshape(count, *pixels.shape[-2:])
        if kind == "FRACTIONAL":
            frames = frames / float(dataset.MaximumFractionalValue) >= 0.5
        masks = {number: np.zeros((len(series.instance_uids), *series.size), dtype=bool) for number in labels}
        fitter = _Fitter(dataset, series, bool(named_instances(dataset) & set(series.instance_uids)), nearest)
        for index in range(count):
            found = fitter.fit(index, frames[index])
            if found is None:
                continue
            place, fitted = found
            if kind == "LABELMAP":
                for number in labels:
                    masks[number][place] |= fitted == number
            else:
                identity = functional_group(dataset, index, "SegmentIdentificationSequence")
                assert identity is not None
                masks[int(identity.ReferencedSegmentNumber)][place] |= fitted > 0
    except ScanFault:
        raise
    except (
        KeyError,
        ValueError,
        AttributeError,
        TypeError,
        IndexError,
        RuntimeError,
        OSError,
        AssertionError,
    ) as error:
        raise ScanFault(
            "segmentation", f"the segmentation cannot be read ({type(error).__name__}): it is damaged or lacks elements"
        ) from None
    fitter.report(count, notes if notes is not None else [])
    return [(labels[number], mask) for number, mask in masks.items()]


class _Fitter:
    """Lays frames of a segmentation on those of its series."""

    def __init__(self, dataset: "pydicom.Dataset", series: Series, refers: bool, nearest: bool = False) -> None:
        self.dataset, self.series, self.refers, self.nearest = dataset, series, refers, nearest
        self.known = {
            (uid, n): i for i, (uid, n) in enumerate(zip(series.instance_uids, series.frame_numbers, strict=True))
        }
        self.misses: list[float] = []
        """Distance to the nearest slice of each frame that lies on none [mm]."""
        self.between = 0.0
        """Farthest distance of a pixel from the segmentation's nearest one that was taken for it [px]."""
        self.by_pixel = 0
        """Frames whose pixels have another size than their slice's, to which they refer."""
        reference = str(dataset.get("FrameOfReferenceUID", ""))
        if not refers and (series.planes is None or not reference or reference != series.frame_of_reference):
            raise ScanFault("segmentation", "the segmentation was made of other slices than this series")

    def fit(self, index: int, frame: np.ndarray) -> tuple[int, np.ndarray] | None:
        """The series' frame that a frame lies on, and its values on that frame's pixels; None for none."""
        own = _planes_of(self.dataset, index)
        planes = self.series.planes
        if own is None or planes is None:
            return self._by_reference(index, frame)
        depth = float(own.origins[0] @ planes.normal)
        off = np.abs(planes.depths - depth)
        place = int(off.argmin())
        gap = float(np.diff(planes.depths).min()) if len(planes.depths) > 1 else 1.0
        if abs(float(own.normal @ planes.normal)) < 1 - MAX_TURN:
            raise ScanFault("segmentation", "the segmentation's frames are turned against the series' slices")
        if off[place] > max(MAX_OFF_MM, RELATIVE_OFF * gap):
            self.misses.append(float(off[place]))
            return None
        # Where each of the slice's pixels lies in the segmentation's frame.
        to_own = np.linalg.inv(own.frame_affine(0)) @ planes.frame_affine(place)
        height, width = self.series.size
        rows, columns = np.mgrid[:height, :width]
        x = to_own[0, 0] * columns + to_own[0, 1] * rows + to_own[0, 3]
        y = to_own[1, 0] * columns + to_own[1, 1] * rows + to_own[1, 3]
        between = max(float(np.abs(x - np.rint(x)).max()), float(np.abs(y - np.rint(y)).max()))
        if between > MAX_OFF_PX:
            source = self._source(index)
            if source == place and frame.shape == self.series.size:
                self.by_pixel += 1
                return place, frame
            if not self.nearest:
                raise ScanFault(
                    "segmentation", f"the segmentation's pixels lie up to {between:.2g} px between the series': "
                    "--resample-labels nearest takes the nearest ones",
                )  # fmt: skip
            self.between = max(self.between, between)
        x, y = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (x >= 0) & (y >= 0) & (x < frame.shape[1]) & (y < frame.shape[0])
        fitted = np.zeros(self.series.size, dtype=frame.dtype)
        fitted[inside] = frame[y[inside], x[inside]]
        return place, fitted

    def _source(self, index: int) -> int | None:
        """The series' frame that a frame says it was derived from."""
        derivation = functional_group(self.dataset, index, "DerivationImageSequence")
        sources = derivation.get("SourceImageSequence", []) if derivation is not None else []
        named = [(str(s.ReferencedSOPInstanceUID), int(np.atleast_1d(s.get("ReferencedFrameNumber") or 1)[0]))
                 for s in sources]  # fmt: skip
        if not named and len(self.known) == 1:
            return 0
        return next((self.known[one] for one in named if one in self.known), None)

    def _by_reference(self, index: int, frame: np.ndarray) -> tuple[int, np.ndarray] | None:
        place = self._source(index)
        if place is None:
            self.misses.append(float("nan"))
            return None
        if frame.shape != self.series.size:
            raise ScanFault("size", f"the segmentation is {frame.shape}, the series {self.series.size} (rows, columns)")
        return place, frame

    def report(self, count: int, notes: list[str]) -> None:
        """Raise where no frame found its slice; note where some did not."""
        if self.by_pixel:
            notes.append(
                f"{self.by_pixel} of {count} frames of the segmentation give another pixel spacing than the slices "
                "that they name as their source: laid on these pixel by pixel"
            )
        if self.between:
            notes.append(
                f"each pixel of the series takes the segmentation's nearest one, up to {self.between:.2g} px off"
            )
        if not self.misses:
            return
        far = f", up to {np.nanmax(self.misses):.3g} mm off" if np.isfinite(self.misses).any() else ""
        said = f"{len(self.misses)} of {count} frames of the segmentation lie on no slice of the series{far}"
        if len(self.misses) == count:
            raise ScanFault("segmentation", said)
        notes.append(f"{said}: left out")


def _planes_of(dataset: "pydicom.Dataset", index: int) -> Planes | None:
    """Return the place of one frame of a segmentation, if it says so."""
    position, turn, measures = (
        functional_group(dataset, index, name)
        for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    )
    if position is None or turn is None or measures is None or measures.get("PixelSpacing") is None:
        return None
    origin = np.array([[float(v) for v in position.ImagePositionPatient]])
    pixel = np.array([[float(v) for v in measures.PixelSpacing]])
    return Planes(origin, np.array([float(v) for v in turn.ImageOrientationPatient]), pixel)


def segment_table(path: Path) -> dict[int, str]:
    """Return the label of each segment number of a segmentation object.

    Raises:
        ScanFault: the file is damaged.
    """
    segments = read_header(path).get("SegmentSequence", [])
    try:
        return {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in segments}
    except (AttributeError, TypeError, ValueError):
        raise ScanFault("segmentation", "a segment lacks its number or label: the file is damaged") from None


def write_segmentation(
    path: Path,
    masks: Sequence[tuple[str, Bool[np.ndarray, "s h w"]]],
    space: SeriesSpace,
    *,
    model: str,
    case_id: str,
    salt: bytes,
    kept: Kept = "nothing",
) -> None:
    """Write predicted masks as one DICOM-SEG in the series' own space.

    Args:
        masks: (label, mask) on the series' frames.
        model: what made the masks.
        case_id: takes the place of the patient's id.
        salt: of the hash that takes the place of the source's UIDs.
        kept: what of the source is named besides the geometry: its UIDs, or these and the patient and study.

    Raises:
        ValueError: no mask is given, or all of them are empty, or the frames were interpolated.
        ScanFault: the sources are gone or cannot be described by a segmentation.
        ImageError: the disk refuses.
    """
    hd = import_highdicom()
    if not masks or not any(mask.any() for _, mask in masks):
        raise ValueError("a DICOM segmentation needs at least one mask that is not empty")
    if space.is_resampled:
        raise ValueError("interpolated slices are none of the series: a DICOM segmentation needs --irregular keep")
    sources = source_headers(space.paths, case_id=case_id, salt=salt, kept=kept)
    tissue = hd.sr.CodedConcept("85756007", "SCT", "Tissue")
    algorithm = hd.AlgorithmIdentificationSequence(
        name="zim-medseg", version="1", family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence")
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=i,
            segment_label=label[:64],
            segmented_property_category=tissue,
            segmented_property_type=tissue,
            algorithm_type="SEMIAUTOMATIC",
            algorithm_identification=algorithm,
        )
        for i, (label, _) in enumerate(masks, start=1)
    ]
    seed = salt + case_id.encode() + model.encode()
    # As the positions have it: what a header says of its neighbours may be wrong.
    across = round(abs(float((LPS_TO_RAS @ space.affine)[:3, 2] @ space.planes.normal)), 6)
    for source in sources:
        holder = functional_group(source, 0, "PixelMeasuresSequence") or source
        holder.SpacingBetweenSlices = across
    pixels = np.stack([space.in_file_order(mask) for _, mask in masks], axis=-1).astype(np.uint8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of series that are no regular volume, which is said elsewhere
            segmentation = hd.seg.Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type="BINARY",
                segment_descriptions=segments,
                series_instance_uid=make_uid(seed, b"series"),
                series_number=1,
                sop_instance_uid=make_uid(seed, b"instance"),
                instance_number=1,
                manufacturer="zim-plugins",
                manufacturer_model_name=model[:64],
                software_versions="research only",
                device_serial_number="0",
                content_label="RESEARCH_ONLY",
            )
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ScanFault(
            "segmentation", f"the series cannot carry a DICOM segmentation ({type(error).__name__})"
        ) from None
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)
