"""Remedies for volumes that are refused otherwise, each asked for by its option and told in a note."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Shaped

from .dicom import Series
from .dicom_seg import MAX_OFF_PX
from .errors import ScanFault
from .nifti import AFFINE_TOLERANCE, import_nibabel, whole_numbers
from .placement import LPS_TO_RAS, regular_shape


@dataclass(frozen=True)
class Remedies:
    """Remedies for volumes that do not fit; by default there are none."""

    affine_tolerance: float = AFFINE_TOLERANCE
    """By how much the affines of image and labels may differ [mm]."""
    reorient: bool = False
    """Turn and flip the axes of labels that are stored in another order than the image's."""
    nan: float | None = None
    """Takes the place of NaN and infinite values."""
    resample_labels: bool = False
    """Bring labels of another grid onto the image's, each voxel with its nearest label."""


def mend_values(
    values: Shaped[np.ndarray, "*any"], remedies: Remedies
) -> tuple[Shaped[np.ndarray, "*any"], tuple[str, ...]]:
    """Return values without NaN and infinity where that is asked for, and what was done to them.

    >>> mend_values(np.array([[[1.0, np.nan]]]), Remedies(nan=0.0))
    (array([[[1., 0.]]]), ('NaN or infinite values taken as 0: 1 of 2',))
    """
    if remedies.nan is None or values.dtype.kind != "f":
        return values, ()
    bad = ~np.isfinite(values)
    count = int(np.count_nonzero(bad))
    if not count:
        return values, ()
    return np.where(bad, remedies.nan, values), (
        f"NaN or infinite values taken as {remedies.nan:g}: {count} of {values.size}",
    )


def mend_labels(
    labels: Shaped[np.ndarray, "i j k"],
    affine: Float64[np.ndarray, "4 4"],
    image_affine: Float64[np.ndarray, "4 4"],
    image_shape: tuple[int, int, int],
    remedies: Remedies,
) -> tuple[Shaped[np.ndarray, "a b c"], tuple[str, ...]]:
    """Return labels as whole numbers on the image's grid.

    Raises:
        ScanFault: they do not fit, and no remedy that would make them fit is asked for; the message names it.
    """
    labels, notes = mend_values(labels, remedies)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and not np.array_equal(labels, np.rint(labels)):
        notes = (*notes, "labels are not quite whole numbers: rounded")  # whole_numbers refuses what is farther off
    labels = whole_numbers(labels)
    if remedies.reorient:
        labels, affine, turned = _reoriented(labels, affine, image_affine)
        notes += ("labels were turned to the image's order of axes",) if turned else ()
    apart = float(np.abs(affine - image_affine).max())
    if labels.shape == image_shape and apart <= remedies.affine_tolerance:
        if apart > AFFINE_TOLERANCE:
            farthest = _farthest_mm(affine, image_affine, image_shape)
            notes = (*notes, f"the affines of image and labels differ by {apart:.3g} mm: taken as one, voxels are up "
                     f"to {farthest:.3g} mm apart")  # fmt: skip
        return labels, notes
    if remedies.resample_labels:
        resampled = _nearest(labels, affine, image_affine, image_shape)
        if labels.any() and not resampled.any():
            raise ScanFault("affine", "the labels lie outside the image: nothing of them is left once resampled")
        return resampled, (
            *notes,
            f"labels of {labels.shape} voxels were resampled to {image_shape}, nearest neighbour",
        )
    raise _refusal(labels.shape, affine, image_affine, image_shape)


def labels_on_series(
    labels: Shaped[np.ndarray, "i j k"], affine: Float64[np.ndarray, "4 4"], series: Series, remedies: Remedies
) -> tuple[Shaped[np.ndarray, "s h w"], tuple[str, ...]]:
    """Return a volume's labels on the frames of a series: voxel by voxel, between two only where that is asked for.

    Raises:
        ScanFault: they do not fit, and no remedy that would make them fit is asked for; the message names it.
    """
    planes, space = series.planes, series.space
    if planes is None or space is None:
        raise ScanFault("affine", "the series does not say where it lies: a volume of labels cannot be laid on it")
    labels, notes = mend_values(labels, remedies)
    labels = whole_numbers(labels)
    if space.is_resampled:  # labels that were made on the regular grid lie there already
        height, width = regular_shape(planes, series.size)
        is_same = labels.shape == (width, height, len(space.grid))
        if is_same and np.abs(affine - space.affine).max() <= remedies.affine_tolerance:
            return space.stack(labels), notes
    rows, columns = np.mgrid[: series.size[0], : series.size[1]]
    pixels = np.stack([columns.ravel(), rows.ravel(), np.zeros(rows.size), np.ones(rows.size)])
    found = np.zeros((len(planes.origins), *series.size), dtype=labels.dtype)
    farthest, beyond = 0.0, 0
    for frame in range(len(found)):
        places = (np.linalg.inv(affine) @ LPS_TO_RAS @ planes.frame_affine(frame) @ pixels)[:3]
        nearest = np.rint(places).astype(int)
        farthest = max(farthest, float(np.abs(places - nearest).max()))
        outside = ((nearest < 0) | (nearest >= np.array(labels.shape)[:, None])).any(axis=0)
        beyond += int(outside.sum())
        nearest[:, outside] = 0
        found[frame] = np.where(outside, 0, labels[tuple(nearest)]).reshape(series.size)
    if beyond == found.size or (labels.any() and not found.any()):
        raise ScanFault("affine", "the labels share no place with the series: they belong to another scan")
    if (farthest > MAX_OFF_PX or beyond) and not remedies.resample_labels:
        how = "reach beyond the labels" if beyond else f"lie up to {farthest:.2g} voxels between the labels'"
        raise ScanFault("affine", f"the series' pixels {how}: --resample-labels nearest takes the nearest ones")
    if farthest > MAX_OFF_PX or beyond:
        notes = (
            *notes, f"each pixel of the series takes its nearest label, up to {farthest:.2g} voxels off; beyond the "
            f"labels: {beyond} pixels, taken as background",
        )  # fmt: skip
    return series.fit_labels(found), notes


def _refusal(
    shape: tuple[int, ...], affine: np.ndarray, image_affine: np.ndarray, image_shape: tuple[int, int, int]
) -> ScanFault:
    """Return the fault of labels that do not fit, which names the one remedy that makes them fit, if there is one."""
    own, wanted = (import_nibabel().orientations.io_orientation(one) for one in (affine, image_affine))
    turn = import_nibabel().orientations.ornt_transform(own, wanted)
    turned_affine = affine @ import_nibabel().orientations.inv_ornt_aff(turn, shape)
    turned_shape = tuple(shape[int(axis)] for axis in np.argsort(turn[:, 0]))
    is_turned = not np.array_equal(own, wanted)
    seen = f"the labels are {shape}, the volume {image_shape}"
    if shape == image_shape:
        apart = float(np.abs(affine - image_affine).max())
        seen = f"image and labels lie apart (their affines differ by {apart:.3g})"
    off = float(np.abs(turned_affine - image_affine).max())
    half = float(np.linalg.norm(image_affine[:3, :3], axis=0).min()) / 2
    if turned_shape == image_shape and _farthest_mm(turned_affine, image_affine, image_shape) < half:
        tolerant = f"--tolerance-affine {_rounded_up(off):g} takes them as one"
        if not is_turned:
            return ScanFault("affine", f"{seen}: {tolerant}")
        more = f", {tolerant} then" if off > AFFINE_TOLERANCE else ""
        return ScanFault("affine", f"{seen}: they hold the same voxels in another order, --reorient turns them{more}")
    if not _overlap(affine, shape, image_affine, image_shape):
        return ScanFault("affine", f"{seen} and share no place with the image: they belong to another scan")
    reason = "affine" if shape == image_shape else "size"
    return ScanFault(reason, f"{seen}: --resample-labels nearest brings the labels onto the image's grid")


def _farthest_mm(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance of a voxel's two places [mm]; it is a corner's."""
    corners = np.array(np.meshgrid(*((0, side - 1) for side in shape), [1])).reshape(4, -1)
    return float(np.linalg.norm(((one - other) @ corners)[:3], axis=0).max())


def _rounded_up(value: float) -> float:
    """The next number of two digits, so that a tolerance that is read off a message is enough."""
    step = 10.0 ** (np.floor(np.log10(value)) - 1) if value > 0 else 1e-4
    return float(np.ceil(value / step + 1e-9) * step)


def _overlap(
    affine: np.ndarray, shape: tuple[int, ...], image_affine: np.ndarray, image_shape: tuple[int, ...]
) -> bool:
    """Return whether the boxes of two grids have a place in common, along each grid's own axes."""
    for one, size, other, its_size in ((affine, shape, image_affine, image_shape),
                                       (image_affine, image_shape, affine, shape)):  # fmt: skip
        corners = np.array(np.meshgrid(*((-0.5, side - 0.5) for side in its_size), [1.0])).reshape(4, -1)
        placed = (np.linalg.inv(one) @ other @ corners)[:3]
        if (placed.max(1) <= -0.5).any() or (placed.min(1) >= np.array(size) - 0.5).any():
            return False
    return True


def _reoriented(
    labels: np.ndarray, affine: np.ndarray, image_affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Labels with axes in the order and direction of the image's, their affine, and whether anything was done."""
    orientations = import_nibabel().orientations
    own, wanted = orientations.io_orientation(affine), orientations.io_orientation(image_affine)
    if np.array_equal(own, wanted):
        return labels, affine, False
    turn = orientations.ornt_transform(own, wanted)
    moved = affine @ orientations.inv_ornt_aff(turn, labels.shape)
    return np.ascontiguousarray(orientations.apply_orientation(labels, turn)), moved, True


def _nearest(
    labels: np.ndarray, affine: np.ndarray, image_affine: np.ndarray, image_shape: tuple[int, int, int]
) -> np.ndarray:
    step = np.linalg.inv(affine) @ image_affine
    rows, columns, slices = image_shape
    plane = np.stack([*np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), np.zeros((rows, columns))], -1)
    resampled = np.zeros(image_shape, dtype=labels.dtype)
    for k in range(slices):
        plane[..., 2] = k
        at = np.rint(plane @ step[:3, :3].T + step[:3, 3]).astype(np.int64)
        inside = ((at >= 0) & (at < labels.shape)).all(axis=-1)
        resampled[..., k][inside] = labels[tuple(at[inside].T)]
    return resampled
