"""Pixels of DICOM files: decoded, rescaled frame by frame, and the reason where they cannot be."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from zim_plugins.core import MissingExtra

from .errors import ScanFault

if TYPE_CHECKING:
    import pydicom

_DAMAGED = (OSError, EOFError, ValueError, AttributeError, KeyError, TypeError, IndexError)


def import_pydicom() -> Any:
    """The pydicom module; MissingExtra names the remedy where it is absent."""
    try:
        import pydicom
        import pydicom.errors
        import pydicom.pixels
    except ImportError as error:
        raise MissingExtra("pydicom", "medical") from error
    return pydicom


def read_header(path: Path) -> "pydicom.Dataset":
    """A file's elements but the pixels.

    Raises:
        ScanFault: empty, no DICOM, or damaged; the fault's text quotes no element.
    """
    pydicom = import_pydicom()
    try:
        if path.stat().st_size == 0:
            raise ScanFault("empty", "the file is empty (0 bytes)")
        return pydicom.dcmread(path, stop_before_pixels=True)
    except pydicom.errors.InvalidDicomError:
        raise ScanFault("not-dicom", "no DICOM file (its preamble is missing)") from None
    except (*_DAMAGED, NotImplementedError) as error:
        raise ScanFault("damaged", f"the DICOM header cannot be read ({type(error).__name__})") from None


def functional_group(header: "pydicom.Dataset", frame: int, keyword: str) -> "pydicom.Dataset | None":
    """The item of a functional group that holds for one frame of a multi-frame object: its own, else the shared one."""
    for holders, place in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = header.get(holders)
        group = items[place].get(keyword) if items and place < len(items) else None
        if group:
            return group[0]
    return None


def read_pixels(path: Path) -> Shaped[np.ndarray, "s h w *c"]:
    """One file's frames after its modality's rescaling, each frame's own in multi-frame objects; RGB in [0, 255].

    Raises:
        ScanFault: cut off, damaged, without pixels, or of a compression that has no decoder here.
    """
    pydicom = import_pydicom()
    try:
        dataset = pydicom.dcmread(path)
        array = pydicom.pixels.pixel_array(dataset)
        is_colour = int(dataset.get("SamplesPerPixel") or 1) == 3
        planes = 3 if is_colour else 2
        frames = array[None] if array.ndim == planes else array
        if not is_colour:
            frames = _rescaled(frames, dataset, pydicom)
    except _DAMAGED as error:
        raise ScanFault(
            "truncated", f"the pixels cannot be read ({type(error).__name__}): cut off or damaged"
        ) from None
    except (NotImplementedError, RuntimeError) as error:
        if _has_decoder(path):  # it failed on these bytes
            raise ScanFault("truncated", "the compressed pixels cannot be decoded: cut off or damaged") from None
        raise ScanFault(
            "compression", f"no decoder for this compression is installed ({type(error).__name__}): "
            "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg",
        ) from None  # fmt: skip
    if frames.ndim != planes + 1 or 0 in frames.shape:
        raise ScanFault("size", f"pixels of {array.ndim} dimensions are no images")
    if is_colour:
        bits = int(dataset.get("BitsStored") or 8)
        scaled = frames if bits <= 8 else frames.astype(np.float32) / (2**bits - 1) * 255
        return scaled.astype(np.uint8)
    return frames.astype(np.float32)


def _rescaled(frames: np.ndarray, dataset: "pydicom.Dataset", pydicom: Any) -> np.ndarray:
    """Stored values as the modality means them."""
    if "SharedFunctionalGroupsSequence" not in dataset and "PerFrameFunctionalGroupsSequence" not in dataset:
        return pydicom.pixels.apply_modality_lut(frames, dataset)
    rescaled = frames.astype(np.float32)
    for frame in range(len(frames)):
        group = functional_group(dataset, frame, "PixelValueTransformationSequence")
        if group is not None and group.get("RescaleSlope") is not None:
            rescaled[frame] *= np.float32(float(group.RescaleSlope))
            rescaled[frame] += np.float32(float(group.get("RescaleIntercept") or 0))
    if functional_group(dataset, 0, "PixelValueTransformationSequence") is None:
        return pydicom.pixels.apply_modality_lut(frames, dataset)
    return rescaled


def _has_decoder(path: Path) -> bool:
    """Return whether a decoder for the file's compression is installed."""
    pydicom = import_pydicom()
    try:
        return pydicom.pixels.get_decoder(read_header(path).file_meta.TransferSyntaxUID).is_available
    except (NotImplementedError, AttributeError):  # a compression that pydicom does not know, or none that is named
        return False
