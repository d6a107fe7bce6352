"""Reading: a case's files to a `Scan`; whatever is wrong leaves as a `ScanFault`."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .dicom import SUFFIXES as DICOM_SUFFIXES
from .dicom import Series, has_preamble, read_series
from .dicom_seg import read_segmentation
from .errors import ScanFault
from .images import LOSSY, MAX_PIXELS, above_threshold, check_settled, guess_encoding, read_rgb, read_values
from .nifti import file_space, has_shear, is_volume_file, read_volume, stored_geometry
from .pairing import CaseFiles, MaskFile
from .placement import Irregular, find_irregular
from .remedies import Remedies, labels_on_series, mend_labels, mend_values
from .rtstruct import read_structures
from .scan import MAX_VALUES, Layer, Scan, merge_masks
from .windows import Window, to_grey

_READERS = ("pydicom", "highdicom", "nibabel", "nibabel.global", "tifffile")


@dataclass(frozen=True)
class ReadingConfig:
    """Options of reading files as scans.

    >>> ReadingConfig(axis="coronal").irregular
    'refuse'
    """

    window: Window = Window()
    axis: str = "axial"
    """Along which volumes are cut: axial, coronal, sagittal or thickest."""
    volume: int | None = None
    """Which one of a file of four dimensions."""
    spacing_mm: tuple[float, float] | None = None
    """(row, column) of images whose files do not say."""
    irregular: Irregular = "refuse"
    """What becomes of DICOM series that are tilted, lack slices, or have several distances or pixel sizes."""
    remedies: Remedies = Remedies()
    """What may be done to volumes and labels that do not fit."""
    max_pixels: int = MAX_PIXELS
    max_values: int = MAX_VALUES


def read_scan(case: CaseFiles, config: ReadingConfig = ReadingConfig()) -> Scan:
    """Read a case.

    Raises:
        ScanFault: its text names no file and quotes no tag.
    """
    with quiet_readers():
        if _is_dicom(case):
            return _read_dicom(case, config)[0]
        if is_volume_file(case.images[0]):
            return _read_volume_case(case, config)
        return _read_image_case(case, config)


def read_dicom_images(paths: tuple[Path, ...], config: ReadingConfig = ReadingConfig()) -> tuple[Scan, Series]:
    """Read a DICOM series without labels, and where its own frames lie; its values are left out.

    Raises:
        ScanFault: as `read_scan`.
    """
    with quiet_readers():
        scan, series = _read_dicom(CaseFiles("series", "series", paths, ()), config)
    return scan, replace(series, values=series.values[:0])


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Keep the libraries' own messages back: they quote what files hold."""
    loggers = [logging.getLogger(name) for name in _READERS]
    before = [one.disabled for one in loggers]
    try:
        for one in loggers:
            one.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, was in zip(loggers, before, strict=True):
            one.disabled = was


def _is_dicom(case: CaseFiles) -> bool:
    """Return whether the images are DICOM, by what refers to them, their names or their first bytes."""
    if any(file.encoding in ("dicom-seg", "rtstruct") for file in case.masks):
        return True
    return case.images[0].name.lower().endswith(DICOM_SUFFIXES) or has_preamble(case.images[0])


def _read_image_case(case: CaseFiles, config: ReadingConfig) -> Scan:
    rgb, used, notes = read_rgb(
        case.images[0], config.window, max_pixels=config.max_pixels, mend=lambda v: mend_values(v, config.remedies)
    )
    merged: list[tuple[str, np.ndarray]] = []
    layers: list[Layer] = []
    instances: list[np.ndarray] = []
    several = len(case.masks) > 1
    for file in case.masks:
        values = read_values(file.path, max_pixels=config.max_pixels)
        if values.shape != rgb.shape[:2]:
            (h, w), (height, width) = values.shape, rgb.shape[:2]
            raise ScanFault("size", f"the mask is {w}x{h} px, the image {width}x{height} px: nothing is resized")
        encoding, lossy = file.encoding, file.path.suffix.lower() in LOSSY
        if encoding == "auto":
            encoding = guess_encoding(values, lossy=lossy)
        if file.value is not None and not lossy:
            check_settled(values, file.value)
        if encoding == "instances" and several:
            instances.append(above_threshold(values, lossy=lossy))
        elif encoding in ("map", "instances"):
            layers.append(_layer(values.astype(np.int64)[None], file, instances=encoding == "instances"))
        else:
            mask = above_threshold(values, lossy=lossy)
            merged.append((file.label, (mask if encoding != "inverted" else ~mask)[None]))
    layers += _without_overlap(merged)
    layers += _stack_instances(instances, case.masks[0].label if case.masks else "")
    pixel = case.pixel_mm or config.spacing_mm
    spacing = (1.0, *pixel) if pixel is not None else None
    return Scan(rgb[None], tuple(layers), spacing, None, tuple(notes), used)


def _layer(values: np.ndarray, file: MaskFile, *, instances: bool) -> Layer:
    found = np.unique(values)
    if found[0] < 0 or found[-1] > np.iinfo(np.uint16).max:
        raise ScanFault("label", f"labels lie in 0..65535, these in {found[0]}..{found[-1]}")
    known = dict(file.names)
    positive = [int(v) for v in found if v > 0]
    if instances:
        return Layer(values.astype(np.uint16), dict.fromkeys(positive, file.label))
    if known:
        stray = [v for v in positive if v not in known]
        if stray:
            raise ScanFault(
                "label", f"the labels hold {stray[:8]}, of which the data set's table knows nothing: add them to it"
            )
    return Layer(values.astype(np.uint16), {v: known.get(v, f"class_{v}") for v in positive})


def _without_overlap(masks: list[tuple[str, np.ndarray]]) -> list[Layer]:
    """Masks of different labels in as few layers as hold them without overlap; equal labels are joined."""
    rows: list[list[tuple[str, np.ndarray]]] = []
    for label, mask in masks:
        for row in rows:
            if all(name == label or not (other & mask).any() for name, other in row):
                row.append((label, mask))
                break
        else:
            rows.append([(label, mask)])
    return [merge_masks(row) for row in rows]


def _stack_instances(masks: list[np.ndarray], label: str) -> list[Layer]:
    if not masks:
        return []
    numbered = [(str(i), mask[None]) for i, mask in enumerate(masks, start=1) if mask.any()]
    layers, first = [], 1
    for layer in _without_overlap(numbered):
        names = {value + first - 1: label for value in layer.names}
        ids = np.where(layer.ids > 0, layer.ids + np.uint16(first - 1), 0).astype(np.uint16)
        layers.append(Layer(ids, names))
        first += len(names)
    return layers


def _read_volume_case(case: CaseFiles, config: ReadingConfig) -> Scan:
    values, affine, notes = read_volume(case.images[0], volume=config.volume, max_values=config.max_values)
    shape = (int(values.shape[0]), int(values.shape[1]), int(values.shape[2]))
    space = file_space(affine, shape, config.axis, stored_geometry(case.images[0]))
    values, mended = mend_values(np.asarray(values), config.remedies)
    told = dict.fromkeys((*notes, *mended))
    grey, used = to_grey(values, config.window)
    layers: list[Layer] = []
    merged: list[tuple[str, np.ndarray]] = []
    for file in case.masks:
        labels, its_affine, _ = read_volume(file.path, volume=config.volume, max_values=config.max_values)
        labels, mended = mend_labels(np.asarray(labels), its_affine, affine, shape, config.remedies)
        told |= dict.fromkeys(mended)
        numbers = space.stack(labels)
        encoding = file.encoding
        if encoding == "auto":
            encoding = "map" if numbers.max(initial=0) > 1 else "binary"
        if encoding in ("map", "instances"):
            layers.append(_layer(numbers.astype(np.int64), file, instances=encoding == "instances"))
        else:
            merged.append((file.label, numbers > 0 if encoding != "inverted" else numbers == 0))
    layers += _without_overlap(merged)
    stack = space.stack(grey)
    notes = tuple(told)
    if has_shear(affine):
        notes = (*notes, "the voxels' axes are not at right angles: no distances are taken between slices")
    return Scan(_as_rgb(stack), tuple(layers), space.spacing_mm, space, notes, used, is_regular=not has_shear(affine))


def _read_dicom(case: CaseFiles, config: ReadingConfig) -> tuple[Scan, Series]:
    series = read_series(case.images, max_values=config.max_values, irregular=config.irregular)
    notes = list(series.notes)
    merged, layers = _read_dicom_labels(case.masks, series, notes, config)
    window = config.window
    if series.values.ndim == 4:
        frames, used = series.values, dict[str, object](kind="none")
    else:
        if window.kind == "auto" and not series.is_ct and series.windows is not None:
            window = Window("file", *series.windows)
        values, mended = mend_values(series.values, config.remedies)
        notes += mended
        grey, used = to_grey(values, window, is_ct=series.is_ct if window.kind == "auto" else None)
        frames = _as_rgb(255 - grey if series.is_inverted else grey)
    layers += _without_overlap(merged)
    is_regular = series.space is None or not find_irregular(series.space.planes).reason
    if not is_regular:
        notes.append("no distances are taken between slices")
    scan = Scan(
        np.ascontiguousarray(frames), tuple(layers), series.spacing_mm, series.space, tuple(notes), used,
        is_regular=is_regular,
    )  # fmt: skip
    return scan, series


def _read_dicom_labels(
    files: tuple[MaskFile, ...], series: Series, notes: list[str], config: ReadingConfig
) -> tuple[list[tuple[str, np.ndarray]], list[Layer]]:
    """Masks by label, and label maps, on the series' own frames; one label comes from one file."""
    merged: list[tuple[str, np.ndarray]] = []
    layers: list[Layer] = []
    of: dict[str, int] = {}
    for number, file in enumerate(files):
        if file.encoding in ("dicom-seg", "rtstruct"):
            found = read_dicom_labels(file.path, file.encoding, series, config.remedies, notes)
        else:
            labels, affine, _ = read_volume(file.path, volume=config.volume, max_values=config.max_values)
            values, mended = labels_on_series(np.asarray(labels), affine, series, config.remedies)
            notes += mended
            if file.encoding in ("map", "instances") or (file.encoding == "auto" and values.max(initial=0) > 1):
                layer = _layer(values.astype(np.int64), file, instances=file.encoding == "instances")
                layers.append(layer)
                found = [(name, np.zeros(0, dtype=bool)) for name in layer.names.values()]
            else:
                found = [(file.label, values > 0 if file.encoding != "inverted" else values == 0)]
        for label in dict.fromkeys(label for label, _ in found):
            if of.setdefault(label, number) != number:
                raise ScanFault(
                    "segmentation", f"{len(files)} files hold labels of this series, and more than one of them the "
                    "same label: keep one of them in the folder",
                )  # fmt: skip
        merged += [(label, mask) for label, mask in found if mask.ndim == 3]
    if len(files) > 1:
        notes.append(f"labels of {len(files)} files are taken together; none is in two of them")
    return merged, layers


def read_dicom_labels(
    path: Path, encoding: str, series: Series, remedies: Remedies, notes: list[str]
) -> list[tuple[str, np.ndarray]]:
    """Return (label, mask on the frames that are shown) of a segmentation object or structure set.

    Raises:
        ScanFault: it cannot be read, or belongs to other slices.
    """
    if encoding == "dicom-seg":
        found = read_segmentation(path, series, notes, nearest=remedies.resample_labels)
    else:
        found = read_structures(path, series, notes)
    return [(label, series.fit_labels(mask)) for label, mask in found]


def _as_rgb(stack: np.ndarray) -> np.ndarray:
    """Greys (s, h, w) as RGB, without a copy."""
    return np.broadcast_to(stack[..., None], (*stack.shape, 3))
