"""DICOM segmentation objects: read as labels of a series, written beside it without its patient."""

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from zim_plugins.core import MissingExtra
from zim_plugins.imaging import atomic_path

from .dicom import Series, SeriesSpace, import_pydicom, read_header
from .errors import ScanFault
from .nifti import AFFINE_TOLERANCE

if TYPE_CHECKING:
    import pydicom

UID_ROOT = "2.25."
"""Under it, UIDs are made of numbers of 128 bits: ours of a salted hash."""
_KEPT_FROM_SOURCE = (
    *("SOPClassUID", "Modality", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"),
    *("ImagePositionPatient", "SliceThickness", "SpacingBetweenSlices", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
"""All that a stripped source says of itself: geometry. Everything else of it stays behind."""


def import_highdicom() -> Any:
    """The highdicom package; MissingExtra names the remedy where it is absent."""
    try:
        import highdicom
        import highdicom.seg
    except ImportError as error:
        raise MissingExtra("highdicom", "medical") from error
    return highdicom


def read_segmentation(path: Path, series: Series) -> list[tuple[str, Bool[np.ndarray, "s h w"]]]:
    """The segments of an object as (label, mask on the series' frames); segments may overlap.

    Raises:
        ScanFault: damaged, or made of another series.
    """
    hd = import_highdicom()
    if not source_instances(path) & set(series.instance_uids):
        raise ScanFault("segmentation", "the segmentation was made of other slices than this series")
    try:
        segmentation = hd.seg.segread(path)
        numbers = list(segmentation.segment_numbers)
        described = {n: str(segmentation.get_segment_description(n).segment_label) for n in numbers}
        masks = segmentation.get_pixels_by_source_instance(
            list(series.instance_uids),
            segment_numbers=numbers,
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
            rescale_fractional=True,
        )
    except (KeyError, ValueError, AttributeError, TypeError, IndexError, RuntimeError, OSError) as error:
        raise ScanFault(
            "segmentation", f"the segmentation cannot be laid over the series ({type(error).__name__}): "
            "it was made of other slices, or is damaged",
        ) from None  # fmt: skip
    if masks.shape[:3] != series.values.shape[:3]:
        raise ScanFault("size", f"the segmentation is {masks.shape[:3]}, the series {series.values.shape[:3]}")
    return [(described[n], masks[..., i] >= 0.5) for i, n in enumerate(numbers)]


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


def source_instances(path: Path) -> set[str]:
    """The instances that a segmentation refers to, for finding its series."""
    header = import_pydicom().dcmread(path, stop_before_pixels=True)
    return {
        str(instance.ReferencedSOPInstanceUID)
        for series in header.get("ReferencedSeriesSequence", [])
        for instance in series.get("ReferencedInstanceSequence", [])
    }


def write_segmentation(
    path: Path,
    masks: Sequence[tuple[str, Bool[np.ndarray, "s h w"]]],
    space: SeriesSpace,
    *,
    model: str,
    case_id: str,
    salt: bytes,
    keep_patient: bool = False,
) -> None:
    """Write predicted masks as one DICOM-SEG in the series' own space.

    Args:
        path: the file.
        masks: (label, mask) on the series' frames.
        space: of the series.
        model: what made the masks.
        case_id: takes the place of the patient's id.
        salt: of the hash that takes the place of the source's UIDs.
        keep_patient: copy the patient and study and refer to the true instances, as the standard's association
            needs; without it nothing but the geometry is taken over.

    Raises:
        ValueError: no mask is given, or all of them are empty.
        ScanFault: the sources are gone or cannot be described by a segmentation.
    """
    hd, pydicom = import_highdicom(), import_pydicom()
    if not masks or not any(mask.any() for _, mask in masks):
        raise ValueError("a DICOM segmentation needs at least one mask that is not empty")
    sources = [pydicom.dcmread(p, stop_before_pixels=True) for p in space.paths]
    if not keep_patient:
        sources = [_stripped(source, case_id, salt) for source in sources]
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
    for source in sources:  # as the positions have it: what a header says of its neighbours may be wrong
        source.SpacingBetweenSlices = round(float(np.linalg.norm(space.affine[:3, 2])), 6)
    try:
        segmentation = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=np.stack([mask for _, mask in masks], axis=-1).astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=segments,
            series_instance_uid=_uid(seed, b"series"),
            series_number=1,
            sop_instance_uid=_uid(seed, b"instance"),
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


def same_place(one: SeriesSpace, other: SeriesSpace) -> bool:
    """Return whether two series lie at the same place in space."""
    return bool(np.abs(one.affine - other.affine).max() <= AFFINE_TOLERANCE)


def _stripped(source: "pydicom.Dataset", case_id: str, salt: bytes) -> "pydicom.Dataset":
    """A header with the source's geometry, empty names and dates, and UIDs that do not lead back."""
    pydicom = import_pydicom()
    stripped = pydicom.Dataset()
    for keyword in _KEPT_FROM_SOURCE:
        if keyword in source:
            stripped[keyword] = copy.deepcopy(source[keyword])
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        setattr(stripped, keyword, _uid(salt, str(source.get(keyword, "")).encode()))
    blank = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber")
    for keyword in (*blank, "ReferringPhysicianName"):
        setattr(stripped, keyword, "")
    stripped.PatientID = case_id
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    stripped.file_meta = meta
    return stripped


def _uid(salt: bytes, value: bytes) -> str:
    digest = hashlib.blake2b(value, key=hashlib.sha256(salt).digest(), digest_size=16).digest()
    return UID_ROOT + str(int.from_bytes(digest, "big"))
