"""Association: what a DICOM object names of its series, and what one that is written takes over from it."""

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .dicom_pixels import import_pydicom

if TYPE_CHECKING:
    import pydicom

Kept = Literal["nothing", "references", "patient"]
"""What a written object says of its source: nothing but the geometry; its UIDs, by which viewers lay one over the
other; or these, the patient and the study, by which archives file it."""
UID_ROOT = "2.25."
"""Under it, UIDs are made of numbers of 128 bits: ours of a salted hash."""
_GEOMETRY = (
    *("SOPClassUID", "Modality", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"),
    *("ImagePositionPatient", "SliceThickness", "SpacingBetweenSlices", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_GROUPS = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_STUDY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
          "AccessionNumber")  # fmt: skip
"""Type 2 elements of the patient and study modules: all that an archive files an object by."""


def make_uid(salt: bytes, value: bytes) -> str:
    """A UID that does not lead back to what it was made of, without the salt."""
    digest = hashlib.blake2b(value, key=hashlib.sha256(salt).digest(), digest_size=16).digest()
    return UID_ROOT + str(int.from_bytes(digest, "big"))


def source_headers(
    paths: Sequence[Path], *, case_id: str, salt: bytes, kept: Kept = "nothing"
) -> "list[pydicom.Dataset]":
    """Headers of a series with its geometry and, of everything else, no more than `kept` says.

    Args:
        paths: of the series.
        case_id: takes the place of the patient's id; empty where the UIDs are the true ones.
        salt: of the hashes that take the place of UIDs.
        kept: what of the source may be named.
    """
    pydicom = import_pydicom()
    return [_stripped(pydicom.dcmread(path, stop_before_pixels=True), case_id, salt, kept) for path in paths]


def source_instances(path: Path) -> set[str]:
    """Return the instances that a segmentation or structure set refers to, for finding its series."""
    return named_instances(import_pydicom().dcmread(path, stop_before_pixels=True))


def source_series(path: Path) -> tuple[set[str], str]:
    """Return the series that a segmentation or structure set names, and its frame of reference."""
    header = import_pydicom().dcmread(path, stop_before_pixels=True)
    named = {str(one.get("SeriesInstanceUID", "")) for one in _referenced_series(header)}
    return named - {""}, frame_of_reference(header)


def frame_of_reference(header: "pydicom.Dataset") -> str:
    """The space that an object's coordinates are in; empty where it names none."""
    found = str(header.get("FrameOfReferenceUID", ""))
    for one in header.get("ReferencedFrameOfReferenceSequence", []):
        found = found or str(one.get("FrameOfReferenceUID", ""))
    return found


def named_instances(header: "pydicom.Dataset") -> set[str]:
    """Instances that a header refers to: by series, as sources, frame by frame, or contour by contour."""
    found = {
        str(instance.get("ReferencedSOPInstanceUID", ""))
        for series in _referenced_series(header)
        for name in ("ReferencedInstanceSequence", "ContourImageSequence")
        for instance in series.get(name, [])
    }
    found |= {str(one.get("ReferencedSOPInstanceUID", "")) for one in header.get("SourceImageSequence", [])}
    for group in header.get("PerFrameFunctionalGroupsSequence", []):
        for derivation in group.get("DerivationImageSequence", []):
            found |= {str(one.get("ReferencedSOPInstanceUID", "")) for one in derivation.get("SourceImageSequence", [])}
    for roi in header.get("ROIContourSequence", []):
        for contour in roi.get("ContourSequence", []):
            found |= {str(one.get("ReferencedSOPInstanceUID", "")) for one in contour.get("ContourImageSequence", [])}
    return found - {""}


def _referenced_series(header: "pydicom.Dataset") -> "list[pydicom.Dataset]":
    """Items that name series: of a segmentation, or deep in a structure set."""
    found = list(header.get("ReferencedSeriesSequence", []))
    for frame in header.get("ReferencedFrameOfReferenceSequence", []):
        for study in frame.get("RTReferencedStudySequence", []):
            found += study.get("RTReferencedSeriesSequence", [])
    return found


def _stripped(source: "pydicom.Dataset", case_id: str, salt: bytes, kept: Kept) -> "pydicom.Dataset":
    pydicom = import_pydicom()
    stripped = pydicom.Dataset()
    for keyword in _GEOMETRY:
        if keyword in source:
            stripped[keyword] = copy.deepcopy(source[keyword])
    for holders in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if holders in source:
            groups = [_group(group) for group in source[holders].value]
            setattr(stripped, holders, pydicom.sequence.Sequence(groups))
    for keyword in _UIDS:
        own = str(source.get(keyword, ""))
        setattr(stripped, keyword, own if kept != "nothing" and own else make_uid(salt, own.encode()))
    for keyword in (*_STUDY, "ReferringPhysicianName"):
        setattr(stripped, keyword, "")
        if kept == "patient" and keyword in source and keyword in _STUDY:
            stripped[keyword] = copy.deepcopy(source[keyword])
    if kept == "nothing":
        stripped.PatientID = case_id
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    stripped.file_meta = meta
    return stripped


def _group(group: "pydicom.Dataset") -> "pydicom.Dataset":
    """The geometry of a functional group."""
    kept = import_pydicom().Dataset()
    for name in _GROUPS:
        if name in group:
            kept[name] = copy.deepcopy(group[name])
    return kept
