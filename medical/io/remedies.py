"""Remedies for volumes that are refused otherwise, each asked for by its option and told in a note."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Shaped

from .errors import ScanFault
from .nifti import AFFINE_TOLERANCE, check_same_space, import_nibabel, whole_numbers

Volume = tuple[Shaped[np.ndarray, "i j k"], tuple[str, ...]]
"""Values, and what was done to them."""


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


def mend_values(values: Shaped[np.ndarray, "i j k"], remedies: Remedies) -> Volume:
    """Return values without NaN and infinity where that is asked for.

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
            notes = (*notes, f"the affines of image and labels differ by {apart:.3g} mm: taken as one")
        return labels, notes
    if remedies.resample_labels:
        resampled = _nearest(labels, affine, image_affine, image_shape)
        if labels.any() and not resampled.any():
            raise ScanFault("affine", "the labels lie outside the image: nothing of them is left once resampled")
        return resampled, (
            *notes,
            f"labels of {labels.shape} voxels were resampled to {image_shape}, nearest neighbour",
        )
    if labels.shape != image_shape:
        raise ScanFault(
            "size", f"the labels are {labels.shape}, the volume {image_shape}: --reorient turns their axes, "
            "--resample-labels nearest brings them onto the image's grid",
        )  # fmt: skip
    check_same_space(image_affine, affine)
    raise ScanFault("affine", "image and labels lie apart")  # tolerances below the usual one


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
