"""DICOM series of known content and place: a ball in space, whatever the slices that show it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medical.io.dicom import Series

SIZE = (40, 48)
"""Rows and columns."""
CENTRE = np.array([12.0, -9.0, 31.0])
"""Of the ball, LPS [mm]."""
RADIUS_MM = 8.0
PATIENT = ("DOE^JANE", "MRN-4711", "19620314", "ACC-77")


def places(
    count: int = 14, step: Sequence[float] = (0.0, 0.0, 3.0), turn: Sequence[float] = (1, 0, 0, 0, 1, 0),
    pixel: tuple[float, float] = (0.8, 0.7),
) -> np.ndarray:  # fmt: skip
    """Origins of slices whose middle is the ball's centre, LPS [mm]."""
    middle = (count - 1) / 2 * np.asarray(step, dtype=float)
    corner = np.asarray(turn[:3]) * pixel[1] * (SIZE[1] - 1) / 2 + np.asarray(turn[3:]) * pixel[0] * (SIZE[0] - 1) / 2
    return CENTRE - corner - middle + np.outer(np.arange(count), step)


def in_ball(origin: np.ndarray, turn: Sequence[float], pixel: Sequence[float]) -> np.ndarray:
    """Pixels of a slice whose centres lie in the ball."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    points = (
        origin
        + columns[..., None] * np.asarray(turn[:3]) * pixel[1]
        + rows[..., None] * np.asarray(turn[3:]) * pixel[0]
    )
    return np.linalg.norm(points - CENTRE, axis=-1) <= RADIUS_MM


def write_series(
    folder: Path, origins: np.ndarray, *, turn: Sequence[float] = (1, 0, 0, 0, 1, 0),
    pixels: Sequence[Sequence[float]] | None = None, names: Sequence[str] | None = None, series: int = 1,
) -> list[Path]:  # fmt: skip
    """Write one CT slice for each origin; the ball is 300 HU, the rest -100; names and instance numbers say nothing."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, origin in enumerate(origins):
        pixel = (0.8, 0.7) if pixels is None else pixels[i]
        one = pydicom.Dataset()
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, f"1.2.3.{series}.9.{i + 1}"
        one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.3.4", f"1.2.3.4.{series}"
        one.FrameOfReferenceUID, one.Modality = "1.2.3.4.5", "CT"
        one.PatientName, one.PatientID, one.PatientBirthDate, one.AccessionNumber = PATIENT
        one.PatientSex, one.StudyDate, one.StudyTime, one.StudyID = "F", "20240229", "101500", "S-9"
        one.ReferringPhysicianName, one.InstanceNumber = "HOUSE^G", (i * 7) % len(origins) + 1
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = *SIZE, 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 0
        one.PixelSpacing, one.SliceThickness = list(pixel), 3.0
        one.RescaleSlope, one.RescaleIntercept = 1, -1024
        one.ImageOrientationPatient = [f"{v:.10g}" for v in turn]
        one.ImagePositionPatient = [f"{v:.10g}" for v in origin]
        mask = in_ball(origin, turn, pixel)
        one.PixelData = np.where(mask, 1324, 924).astype(np.uint16).tobytes()
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta = meta
        path = folder / (names[i] if names is not None else f"IM{(i * 5) % len(origins):03d}.dcm")
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def masks_of(paths: Sequence[Path]) -> np.ndarray:
    """The ball on each file's slice, as the file's own header places it."""
    import pydicom

    found = []
    for path in paths:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        origin = np.array([float(v) for v in header.ImagePositionPatient])
        turn = [float(v) for v in header.ImageOrientationPatient]
        found.append(in_ball(origin, turn, [float(v) for v in header.PixelSpacing]))
    return np.stack(found)


def voxel_places(paths: Sequence[Path]) -> np.ndarray:
    """Places of the four corner pixels and the middle one of each file's slice by highdicom, RAS [mm], (n, 5, 3)."""
    import pydicom
    from highdicom.spatial import PixelToReferenceTransformer

    pixels = np.array([[0, 0], [SIZE[1] - 1, 0], [0, SIZE[0] - 1], [SIZE[1] - 1, SIZE[0] - 1], [20, 17]])
    found = []
    for path in paths:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        transform = PixelToReferenceTransformer(
            image_position=[float(v) for v in header.ImagePositionPatient],
            image_orientation=[float(v) for v in header.ImageOrientationPatient],
            pixel_spacing=[float(v) for v in header.PixelSpacing],
        )
        found.append(transform(pixels) * [-1, -1, 1])
    return np.stack(found)


PROBES = np.array([[0, 0], [SIZE[1] - 1, 0], [0, SIZE[0] - 1], [SIZE[1] - 1, SIZE[0] - 1], [20, 17]])
"""(column, row) of the pixels of `voxel_places`."""


OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
KINDS = {
    "straight": {},
    "tilted": {"step": (0.0, 1.1, 3.0)},
    "tilted-other-way": {"step": (-0.7, -0.4, -2.5)},
    "oblique": {"turn": OBLIQUE, "step": tuple(2.0 * np.cross(OBLIQUE[:3], OBLIQUE[3:]))},
    "oblique-tilted": {"turn": OBLIQUE, "step": tuple(2.0 * np.cross(OBLIQUE[:3], OBLIQUE[3:]) + [0.3, 0, 0])},
}
"""Options of `places` and `write_series`."""


def make(folder: Path, kind: str, drop: tuple[int, ...] = ()) -> list[Path]:
    """A series of some kind, without some of its slices; files in the order of the slices."""
    options = KINDS[kind]
    origins = np.delete(places(**options), drop, axis=0)
    return write_series(folder, origins, turn=options.get("turn", (1, 0, 0, 0, 1, 0)))


def in_order(paths: Sequence[Path], series: Series) -> list[Path]:
    """Files in the order of a series' frames."""
    import pydicom

    by_uid = {str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID): p for p in paths}
    return [by_uid[uid] for uid in series.instance_uids]
