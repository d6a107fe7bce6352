"""Invented DICOM: CT series of any geometry, and segmentations made of them by highdicom; nobody's data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

ORIGIN = (-100.0, -80.0, -50.0)


def positions(count: int = 8, gap_mm: float = 3.0, tilt_mm: float = 0.0) -> list[tuple[float, float, float]]:
    """Places of slices [mm], each `tilt_mm` further along y than the one before, as a tilted gantry has them."""
    x, y, z = ORIGIN
    return [(x, y + i * tilt_mm, z + i * gap_mm) for i in range(count)]


def ct_series(
    folder: Path,
    places: Sequence[tuple[float, float, float]] | None = None,
    *,
    spacing: Sequence[tuple[float, float]] = ((0.8, 0.7),),
    patient: str = "MRN-1",
    names: Sequence[str] | None = None,
    size: tuple[int, int] = (32, 40),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
) -> list[Path]:
    """Write a CT with a bright block (see `block`), a file for each place; spacings are taken in turn."""
    pydicom = pytest.importorskip("pydicom")
    uid = pydicom.uid.generate_uid
    places = positions() if places is None else places
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = uid(), uid(), uid()
    bright = block((len(places), *size))
    paths = []
    for i, place in enumerate(places):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.CTImageStorage, uid()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        d = pydicom.Dataset()
        d.file_meta = meta
        d.SOPClassUID, d.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, frame
        d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = "Planted^Jane", patient, "19700101", "F"
        d.StudyDate, d.StudyTime, d.StudyID, d.AccessionNumber = "20200102", "101112", "1", "ACC777"
        d.ReferringPhysicianName = ""
        d.Modality, d.SeriesNumber, d.InstanceNumber = "CT", 1, i + 1
        d.Rows, d.Columns = size
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated = d.BitsStored = 16
        d.HighBit, d.PixelRepresentation = 15, 0
        d.PixelSpacing, d.SliceThickness = list(spacing[i % len(spacing)]), 3
        d.RescaleSlope, d.RescaleIntercept = 1, -1024
        d.ImageOrientationPatient, d.ImagePositionPatient = list(orientation), list(place)
        d.PixelData = np.where(bright[i], 1104, 984).astype(np.uint16).tobytes()
        path = folder / (names[i] if names is not None else f"IM{i:04d}.dcm")
        d.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def block(shape: tuple[int, int, int]) -> np.ndarray:
    """The object of an invented CT (s, h, w): a block off every centre."""
    mask = np.zeros(shape, bool)
    mask[1 : shape[0] - 2, 6:16, 20:34] = True
    return mask


def segmentation(path: Path, sources: Sequence[Path], masks: dict[str, np.ndarray], *, references: bool = True) -> Path:
    """Write a DICOM-SEG of these files by highdicom, or one that names its series but no frame's source."""
    pydicom = pytest.importorskip("pydicom")
    hd = pytest.importorskip("highdicom")
    tissue = hd.sr.CodedConcept("85756007", "SCT", "Tissue")
    segments = [
        hd.seg.SegmentDescription(number, label, tissue, tissue, "MANUAL")
        for number, label in enumerate(masks, start=1)
    ]  # fmt: skip
    made = hd.seg.Segmentation(
        [pydicom.dcmread(source) for source in sources], np.stack(list(masks.values()), -1).astype(np.uint8), "BINARY",
        segments, pydicom.uid.generate_uid(), 99, pydicom.uid.generate_uid(), 1, "me", "m", "1", "1",
    )  # fmt: skip
    if not references:
        for frame in made.PerFrameFunctionalGroupsSequence:
            del frame.DerivationImageSequence
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return path
