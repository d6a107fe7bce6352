"""Placement of slices: from each slice's own position to one grid, or the reason why there is none.

Positions are DICOM's, in LPS [mm]; affines lead to RAS+, as nibabel has them. A grid is built from the positions alone:
what headers say of distances and tilt is not asked.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, Shaped

from .errors import ScanFault

Irregular = Literal["refuse", "keep", "resample"]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MAX_OFF_MM = 0.02
"""Distance of a slice from its place on the grid up to which the grid is exact: headers round to that."""
RELATIVE_OFF = 0.01
"""The same as a share of the slices' distance; the larger of the two counts."""
MAX_TURN = 1e-3
"""Difference of direction cosines up to which slices are parallel."""
MAX_GRID_SLICES = 20_000


@dataclass(frozen=True, eq=False)
class Planes:
    """Places of a series' frames, in order along their normal."""

    origins: Float64[np.ndarray, "n 3"]
    """Centre of each frame's first pixel, LPS [mm]."""
    turn: Float64[np.ndarray, " 6"]
    """Directions of rows (x grows) and columns (y grows), as ImageOrientationPatient has them."""
    pixels_mm: Float64[np.ndarray, "n 2"]
    """(row, column) distance of each frame's pixels, as PixelSpacing has them."""

    @property
    def normal(self) -> Float64[np.ndarray, " 3"]:
        """Unit vector across the frames."""
        normal = np.cross(self.turn[:3], self.turn[3:])
        return normal / np.linalg.norm(normal)

    @property
    def depths(self) -> Float64[np.ndarray, " n"]:
        """Place of each frame along the normal [mm]."""
        return self.origins @ self.normal

    def frame_affine(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """Return the affine of one frame: (column, row, distance along the normal [mm]) to LPS [mm]."""
        affine = np.eye(4)
        affine[:3, 0] = self.turn[:3] * self.pixels_mm[frame, 1]
        affine[:3, 1] = self.turn[3:] * self.pixels_mm[frame, 0]
        affine[:3, 2] = self.normal
        affine[:3, 3] = self.origins[frame]
        return affine


@dataclass(frozen=True, eq=False)
class SeriesSpace:
    """The frames of a DICOM series on one grid, which may hold slices that the series lacks."""

    affine: Float64[np.ndarray, "4 4"]
    """From (column, row, slice) indices to RAS+ [mm]."""
    paths: tuple[Path, ...]
    """The files in the order of the frames; one where a file holds all of them."""
    planes: Planes
    grid: tuple[int, ...]
    """Slice of each frame on the grid, growing; gaps are slices that the series lacks."""
    frame_numbers: tuple[int, ...] = ()
    """Of the frames in the one file that holds them all, from 0; empty where each file is a slice."""
    is_resampled: bool = False
    """Whether the frames were interpolated, so that they are no slices of the files."""

    def restore(self, stack: Shaped[np.ndarray, "s h w"]) -> Shaped[np.ndarray, "i j k"]:
        """A stack of frames as NIfTI holds it, (column, row, slice); slices that the series lacks are 0."""
        if len(stack) != len(self.grid):
            raise ValueError(f"{len(stack)} frames do not belong to a series of {len(self.grid)}")
        whole = np.zeros((self.grid[-1] + 1, *stack.shape[1:]), dtype=stack.dtype)
        whole[list(self.grid)] = stack
        return np.ascontiguousarray(whole.transpose(2, 1, 0))

    def stack(self, array: Shaped[np.ndarray, "i j k"]) -> Shaped[np.ndarray, "s h w"]:
        """Frames of an array that `restore` made; what it holds on slices that the series lacks is left out."""
        return np.ascontiguousarray(array.transpose(2, 1, 0)[list(self.grid)])

    def in_file_order(self, stack: Shaped[np.ndarray, "s h w"]) -> Shaped[np.ndarray, "s h w"]:
        """A stack of frames in the order in which the one file that holds them all has them."""
        return stack[np.argsort(self.frame_numbers)] if self.frame_numbers else stack

    def numbers(self) -> list[int]:
        """Return the frames' numbers: their slices on the grid."""
        return list(self.grid)

    def to_stack(self, voxels: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Places (frame, row, column) in the stack of (column, row, slice) indices; between slices in proportion."""
        placed = voxels[:, ::-1].copy()
        placed[:, 0] = _interpolated(placed[:, 0], np.array(self.grid, dtype=np.float64))
        return placed

    def locate(self, places_mm: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Places (frame, row, column) in the stack of places in RAS+ [mm]."""
        homogeneous = np.c_[places_mm, np.ones(len(places_mm))]
        return self.to_stack((homogeneous @ np.linalg.inv(self.affine).T)[:, :3])


def place_frames(
    planes: Planes, paths: tuple[Path, ...], irregular: Irregular = "refuse"
) -> tuple[SeriesSpace, tuple[float, float, float], tuple[str, ...]]:
    """Lay frames on one grid.

    Args:
        planes: of the frames, in order along their normal.
        paths: their files.
        irregular: what becomes of frames that are shifted against their normal, or lack neighbours: "refuse", or
            "keep", which shears the grid and leaves missing slices empty. ("resample" is `resample_frames`.)

    Returns:
        The space, the distance of neighbours along (frame, row, column) [mm], and what was done.

    Raises:
        ScanFault: the frames lie on no common grid, or are irregular and that is to be refused.
    """
    found = find_irregular(planes)
    if found.reason and (irregular == "refuse" or not found.has_grid):
        remedy = "--irregular resample interpolates on a regular grid of right angles"
        if found.has_grid:
            remedy = f"--irregular keep takes the slices as they are, {remedy}"
        raise ScanFault(found.reason, f"{found.said}: {remedy}")
    affine = np.eye(4)
    affine[:, :2] = planes.frame_affine(0)[:, :2]
    affine[:3, 2] = found.step
    affine[:3, 3] = planes.origins[0]
    across = abs(float(found.step @ planes.normal))
    row, column = (float(v) for v in planes.pixels_mm[0])
    kept = f"{found.said}; every slice is kept at its own place" if found.reason else ""
    if found.reason == "missing-slices":
        kept += ", missing ones are empty in volumes"
    return SeriesSpace(LPS_TO_RAS @ affine, paths, planes, found.grid), (across, row, column), (kept,) if kept else ()


@dataclass(frozen=True, eq=False)
class Regularity:
    """Arrangement of frames: the grid that they lie on, and what is irregular."""

    grid: tuple[int, ...]
    step: Float64[np.ndarray, " 3"]
    """From a slice of the grid to the next, LPS [mm]."""
    reason: str = ""
    """tilt, missing-slices, uneven or pixel-spacing; empty where all is regular and at right angles."""
    said: str = ""
    has_grid: bool = True
    """Whether one grid, sheared or with gaps, holds all frames exactly."""


def find_irregular(planes: Planes) -> Regularity:
    """Find the grid that frames lie on, and what keeps it from being regular and at right angles."""
    count, normal, depths = len(planes.origins), planes.normal, planes.depths
    if count == 1:
        return Regularity((0,), normal.copy())
    sizes, numbers = np.unique(np.round(planes.pixels_mm, 4), axis=0, return_counts=True)
    gaps = np.diff(depths)
    typical = float(np.median(gaps))
    if len(sizes) > 1:
        listed = ", ".join(f"{row:g} x {column:g} mm ({n})" for (row, column), n in zip(sizes, numbers, strict=True))
        return Regularity(
            tuple(range(count)), normal * typical, "pixel-spacing",
            f"the slices have {len(sizes)} pixel spacings: {listed}", has_grid=False,
        )  # fmt: skip
    base = _base_step(gaps)
    places = np.rint((depths - depths[0]) / base).astype(int) if base is not None else np.arange(count)
    step = (planes.origins[-1] - planes.origins[0]) / places[-1]
    off = np.linalg.norm(planes.origins - planes.origins[0] - np.outer(places, step), axis=1)
    allowed = max(MAX_OFF_MM, RELATIVE_OFF * typical)
    if base is None or off.max() > allowed or places[-1] >= MAX_GRID_SLICES:
        bent = np.linalg.norm(np.cross(planes.origins - planes.origins[0], _unit(step)), axis=1).max()
        said = f"the slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart, by no common step"
        if gaps.max() - gaps.min() <= allowed and bent > allowed:
            said = f"the slices' corners lie up to {bent:.4g} mm off a straight line"
        return Regularity(tuple(range(count)), step, "uneven", said, has_grid=False)
    grid = tuple(int(place) for place in places)
    said, reason = [], ""
    missing = sorted(set(range(grid[-1] + 1)) - set(grid))
    if missing:
        reason = "missing-slices"
        said.append(
            f"{len(missing)} of {grid[-1] + 1} slices are missing (number {_ranges(missing)} from 0; "
            f"the others are {np.linalg.norm(step):.4g} mm apart)"
        )
    across = float(step @ normal)
    aside = float(np.linalg.norm(step - across * normal))
    if aside * grid[-1] > allowed:
        reason = reason or "tilt"
        said.append(
            f"the slices are shifted sideways by {aside:.4g} mm each ({np.degrees(np.arctan2(aside, abs(across))):.3g} "
            f"degrees), {aside * grid[-1]:.4g} mm from first to last, as by a tilted gantry"
        )
    return Regularity(grid, step, reason, " and ".join(said))


def resample_frames(
    frames: Shaped[np.ndarray, "n h w *c"], planes: Planes, target: SeriesSpace, *, nearest: bool = False
) -> Shaped[np.ndarray, "slices rows columns *c"]:
    """Interpolate frames on the grid of `regular_space`.

    Args:
        frames: at `planes`.
        planes: where they lie.
        target: of `regular_space`; its shape is that of `regular_shape`.
        nearest: take the value of the nearest pixel, 0 outside, for labels; else linear, the least value outside.
    """
    from scipy.ndimage import map_coordinates

    slices, (height, width) = len(target.grid), regular_shape(planes, (frames.shape[1], frames.shape[2]))
    depths, goals = planes.depths, target.planes.depths
    channels = frames.reshape(*frames.shape[:3], -1)
    whole = np.zeros((slices, height, width, channels.shape[3]), dtype=frames.dtype)
    lowest = frames.min() if frames.size and not nearest else 0
    for place, depth in enumerate(goals):
        at = float(_interpolated(np.array([depth]), depths)[0])
        low = int(np.clip(np.floor(at + 1e-9), 0, len(depths) - 1))
        share = min(max(at - low, 0.0), 1.0)
        if nearest:
            low, share = int(np.clip(np.rint(at), 0, len(depths) - 1)), 0.0
        mixed = np.zeros((height, width, channels.shape[3]))
        for frame, weight in ((low, 1 - share), (low + 1, share)):
            if weight <= 1e-9:
                continue
            to_frame = np.linalg.inv(planes.frame_affine(frame)) @ target.planes.frame_affine(place)
            rows, columns = np.mgrid[:height, :width].astype(np.float64)
            x = to_frame[0, 0] * columns + to_frame[0, 1] * rows + to_frame[0, 3]
            y = to_frame[1, 0] * columns + to_frame[1, 1] * rows + to_frame[1, 3]
            for channel in range(channels.shape[3]):
                source = channels[frame, ..., channel]
                order = 0 if nearest else 1
                mixed[..., channel] += weight * map_coordinates(
                    source if nearest else source.astype(np.float64), [y, x], order=order, cval=float(lowest)
                )
        whole[place] = np.rint(mixed) if frames.dtype.kind in "iu" else mixed
    return whole.reshape(slices, height, width, *frames.shape[3:])


def regular_shape(planes: Planes, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the regular grid that covers all frames of `size`."""
    _, low, high, (row, column) = _extent(planes, size)
    return int(np.floor((high[1] - low[1]) / row + 1e-6)) + 1, int(np.floor((high[0] - low[0]) / column + 1e-6)) + 1


def regular_space(planes: Planes, paths: tuple[Path, ...], size: tuple[int, int]) -> tuple[SeriesSpace, str]:
    """Return the regular grid of right angles that covers all frames, and what is to be said of it.

    Its slices have the frames' typical distance, its pixels the smallest spacing that a frame has.
    """
    found = find_irregular(planes)
    first, low, _, (row, column) = _extent(planes, size)
    gaps = np.diff(planes.depths)
    base = _base_step(gaps)
    across = abs(float(found.step @ planes.normal)) if base is not None and found.has_grid else float(np.median(gaps))
    slices = int(np.floor((planes.depths[-1] - planes.depths[0]) / across + 1e-6)) + 1
    corner = first[:3, 3] + planes.turn[:3] * low[0] + planes.turn[3:] * low[1]
    origins = corner + np.outer(np.arange(slices) * across, planes.normal)
    regular = Planes(origins, planes.turn, np.tile([row, column], (slices, 1)))
    affine = np.eye(4)
    affine[:, :2] = regular.frame_affine(0)[:, :2]
    affine[:3, 2] = planes.normal * across
    affine[:3, 3] = corner
    space = SeriesSpace(LPS_TO_RAS @ affine, paths, regular, tuple(range(slices)), is_resampled=True)
    height, width = regular_shape(planes, size)
    return space, (
        f"{found.said or 'the slices are regular'}: interpolated linearly (labels: nearest) on {slices} slices of "
        f"{height} x {width} pixels, {across:.4g} x {row:.4g} x {column:.4g} mm, at right angles"
    )


def _extent(
    planes: Planes, size: tuple[int, int]
) -> tuple[Float64[np.ndarray, "4 4"], np.ndarray, np.ndarray, tuple[float, float]]:
    """The first frame's affine, lowest and highest pixel centre along rows and columns [mm], and the pixel's size."""
    first = planes.frame_affine(0)
    directions = planes.turn.reshape(2, 3)
    starts = (planes.origins - planes.origins[0]) @ directions.T
    ends = starts + planes.pixels_mm[:, ::-1] * (np.array(size)[::-1] - 1)
    return first, starts.min(0), ends.max(0), (float(planes.pixels_mm[:, 0].min()), float(planes.pixels_mm[:, 1].min()))


def _base_step(gaps: Float64[np.ndarray, " n"]) -> float | None:
    """The distance of which all gaps are whole multiples, or None."""
    base = float(gaps.min())
    counts = np.rint(gaps / base)
    refined = float(gaps.sum() / counts.sum())
    allowed = max(MAX_OFF_MM, RELATIVE_OFF * refined) * 2
    if (counts < 1).any() or np.abs(gaps - counts * refined).max() > allowed:
        return None
    return refined


def _interpolated(values: Float64[np.ndarray, " n"], knots: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " n"]:
    """Index of values among growing knots, in proportion between two, onward at the ends as their neighbours go."""
    if len(knots) == 1:
        return values - knots[0]
    index = np.interp(values, knots, np.arange(len(knots), dtype=np.float64))
    below, above = values < knots[0], values > knots[-1]
    index[below] = (values[below] - knots[0]) / (knots[1] - knots[0])
    index[above] = len(knots) - 1 + (values[above] - knots[-1]) / (knots[-1] - knots[-2])
    return index


def _unit(vector: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, " 3"]:
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def _ranges(numbers: list[int]) -> str:
    """Numbers as text, neighbours joined: 3, 5-7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    said = [str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts]
    return ", ".join(said[:8]) + (", ..." if len(said) > 8 else "")
