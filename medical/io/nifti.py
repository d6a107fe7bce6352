"""Volumes of nibabel's and SimpleITK's formats, turned to show anterior or superior upwards, and the way back."""

import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from zim_plugins.core import MissingExtra
from zim_plugins.imaging import atomic_path

from .errors import ScanFault
from .scan import MAX_VALUES

logger = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd")
AXES = {"axial": ("S", "P", "R"), "coronal": ("A", "I", "R"), "sagittal": ("R", "I", "A")}
"""Where a stack's axes (frame, row, column) point: the axial one is `rot90` of the canonical slice, anterior up."""
THICK = 1.5
"""Ratio of the largest spacing to the next above which a volume is cut as it was acquired."""
AFFINE_TOLERANCE = 1e-3
NEAR_INTEGER = 1e-3
"""Distance from a whole number up to which a label is one: scaling by a header leaves as much."""
SHEAR_TOLERANCE = 1e-5
"""Cosine of the angle between two axes up to which they count as at right angles: float32 headers round."""
_GEOMETRY = (
    *("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)
_DAMAGED = (OSError, EOFError, ValueError, TypeError, KeyError, zlib.error)


@dataclass(frozen=True, eq=False)
class FileSpace:
    """A volume file's own array order and affine, and which of its axes were made frames."""

    affine: Float64[np.ndarray, "4 4"]
    """From voxel indices (i, j, k) to RAS+ [mm]."""
    shape: tuple[int, int, int]
    axis: str
    stored: dict[str, np.ndarray] | None = None
    """Fields of a NIfTI header that say where the voxels lie, bit by bit; None for other formats."""

    def stack(self, array: Shaped[np.ndarray, "i j k"]) -> Shaped[np.ndarray, "s h w"]:
        """The file's array as frames."""
        nib = import_nibabel()
        turned = nib.orientations.apply_orientation(array, self._there())
        return np.ascontiguousarray(turned)

    def restore(self, stack: Shaped[np.ndarray, "s h w"]) -> Shaped[np.ndarray, "i j k"]:
        """Frames as the file's array."""
        nib = import_nibabel()
        back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt(AXES[self.axis]), self._own())
        array = np.ascontiguousarray(nib.orientations.apply_orientation(stack, back))
        if array.shape != self.shape:
            raise ValueError(f"the stack of {stack.shape} does not belong to a volume of {self.shape}")
        return array

    def to_stack(self, voxels: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Places (frame, row, column) in the stack of voxel indices (i, j, k); whole numbers are centres in both."""
        placed = np.empty_like(voxels)
        for axis, (target, direction) in enumerate(self._there()):
            placed[:, int(target)] = voxels[:, axis] if direction > 0 else self.shape[axis] - 1 - voxels[:, axis]
        return placed

    def locate(self, places_mm: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Places (frame, row, column) in the stack of places in RAS+ [mm]."""
        homogeneous = np.c_[places_mm, np.ones(len(places_mm))]
        return self.to_stack((homogeneous @ np.linalg.inv(self.affine).T)[:, :3])

    def numbers(self) -> list[int]:
        """Return the file's number of each frame: its index along the axis that was made frames."""
        moved = self.to_stack(np.vstack([np.zeros(3), np.eye(3)]))[:, 0]
        axis = int(np.abs(moved[1:] - moved[0]).argmax())
        count = self.shape[axis]
        return list(range(count)) if moved[1 + axis] > moved[0] else list(range(count - 1, -1, -1))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbours along (frame, row, column) [mm]."""
        zooms = np.linalg.norm(self.affine[:3, :3], axis=0)
        ordered = np.empty(3)
        ordered[self._there()[:, 0].astype(int)] = zooms
        return float(ordered[0]), float(ordered[1]), float(ordered[2])

    def _own(self) -> np.ndarray:
        return import_nibabel().orientations.io_orientation(self.affine)

    def _there(self) -> np.ndarray:
        nib = import_nibabel()
        return nib.orientations.ornt_transform(self._own(), nib.orientations.axcodes2ornt(AXES[self.axis]))


def import_nibabel() -> Any:
    """The nibabel module; MissingExtra names the remedy where it is absent."""
    try:
        import nibabel
        import nibabel.orientations
    except ImportError as error:
        raise MissingExtra("nibabel", "medical") from error
    return nibabel


def is_volume_file(path: Path) -> bool:
    """Return whether the name is that of a volume that `read_volume` takes."""
    return path.name.lower().endswith(NIFTI_SUFFIXES + ITK_SUFFIXES)


def read_volume(
    path: Path, *, volume: int | None = None, max_values: int = MAX_VALUES
) -> tuple[Shaped[np.ndarray, "i j k"], Float64[np.ndarray, "4 4"], tuple[str, ...]]:
    """A volume's values as stored (scaled by its header), its affine to RAS+ [mm], and notes.

    Args:
        path: `.nii`, `.nii.gz`, `.mha`, `.mhd` or `.nrrd`.
        volume: which one of a file of four dimensions; never chosen in silence.
        max_values: refuse larger files from their header.

    Raises:
        ScanFault: damaged, too large, of four dimensions, or without a voxel size.
    """
    if path.name.lower().endswith(ITK_SUFFIXES):
        return _read_itk(path, volume, max_values)
    nib = import_nibabel()
    _check_packing(path)
    try:
        file = nib.load(path)
        shape = tuple(int(side) for side in file.shape)
        shape = (*shape, 1) if len(shape) == 2 else shape  # one slice
        while len(shape) > 3 and shape[-1] == 1:  # axes of one element say nothing
            shape = shape[:-1]
        _check_shape(shape, volume, max_values)
        # By the proxy: get_fdata would make float64 of everything and keep it.
        lazily = file.dataobj
        array = (
            np.asanyarray(lazily).reshape(shape)
            if len(shape) == 3
            else (np.asanyarray(lazily[(slice(None),) * 3 + (volume,) + (0,) * (len(file.shape) - 4)]))
        )
        affine = np.asarray(file.affine, dtype=np.float64)
        header = file.header
        zooms = _stored_zooms(file, path)
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, *_DAMAGED) as error:
        if isinstance(error, ScanFault):
            raise
        raise ScanFault(
            "damaged", f"the volume cannot be read ({type(error).__name__}): cut off or no NIfTI"
        ) from error
    return _checked(array.reshape(array.shape[:3]), affine, zooms, _header_notes(header))


def file_space(
    affine: Float64[np.ndarray, "4 4"],
    shape: tuple[int, int, int],
    axis: str,
    stored: dict[str, np.ndarray] | None = None,
) -> FileSpace:
    """Return the space of a volume cut along `axis`.

    That is axial, coronal, sagittal, thickest (the largest spacing), or auto: thickest where that spacing is more than
    `THICK` times the next, else axial.
    """
    if axis == "auto":
        ordered = sorted(np.linalg.norm(affine[:3, :3], axis=0))
        axis = "thickest" if ordered[2] > THICK * ordered[1] else "axial"
    if axis == "thickest":
        axis = max(AXES, key=lambda name: FileSpace(affine, shape, name).spacing_mm[0])
    if axis not in AXES:
        raise ValueError(f"the axis is {', '.join(AXES)}, thickest or auto, got {axis!r}")
    return FileSpace(affine, shape, axis, stored)


def stored_geometry(path: Path) -> dict[str, np.ndarray] | None:
    """Return the fields of a NIfTI header that place the voxels: both forms, their codes, sizes and units of length.

    None for formats without such a header. Text fields and times are not among them.
    """
    if path.name.lower().endswith(ITK_SUFFIXES):
        return None
    header = import_nibabel().load(path).header
    if "sform_code" not in header:
        return None
    fields = {name: np.array(header[name]) for name in _GEOMETRY}
    fields["pixdim"][4:] = 1.0  # beyond space there is time, which is nobody's business
    fields["xyzt_units"] = np.array(int(fields["xyzt_units"]) & 0x07, dtype=np.uint8)
    return fields


def whole_numbers(array: Shaped[np.ndarray, "i j k"]) -> Shaped[np.ndarray, "i j k"]:
    """Labels as integers, whatever the file stores; what is within `NEAR_INTEGER` of one is rounded.

    Raises:
        ScanFault: fractions, negative numbers or NaN, which are no labels.
    """
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ScanFault("not-finite", "the labels hold NaN or infinite values: --nan 0 makes background of them")
        whole = np.rint(array)
        if array.size and np.abs(array - whole).max() > NEAR_INTEGER:
            raise ScanFault("label", "the labels hold fractions: threshold the soft mask first")
        array = whole
    if array.size and (array.min() < 0 or array.max() > np.iinfo(np.uint16).max):
        raise ScanFault(
            "label", f"labels lie in 0..65535, these in {array.min():g}..{array.max():g}: give background 0, and every "
            "structure a number of its own",
        )  # fmt: skip
    return array.astype(np.uint16)


def write_nifti(
    path: Path,
    array: Shaped[np.ndarray, "i j k"],
    affine: Float64[np.ndarray, "4 4"],
    stored: dict[str, np.ndarray] | None = None,
) -> None:
    """Write a volume under a fresh header, in the array's own type, without the source's text fields.

    Args:
        path: `.nii` or `.nii.gz`.
        array: bool becomes uint8; integers and floats keep their type.
        affine: to RAS+ [mm].
        stored: of `stored_geometry`: both forms and their codes come back bit by bit. Without it the sform holds the
            affine, and so does the qform unless the axes are not at right angles, which it cannot say.
    """
    nib = import_nibabel()
    array = array.astype(np.uint8) if array.dtype == bool else array
    large = max(array.shape) > np.iinfo(np.int16).max
    image_type = nib.Nifti2Image if large else nib.Nifti1Image
    image = image_type(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    if stored is not None:
        # An image keeps its affine apart and writes it over the sform: the header goes beside it.
        image = image_type(array, None, image.header, dtype=array.dtype)
        for name, value in stored.items():
            image.header[name] = value
    else:
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=0 if has_shear(affine) else 1)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def has_shear(affine: Float64[np.ndarray, "4 4"]) -> bool:
    """Return whether an affine's axes are not at right angles, so that no rotation and voxel size can stand for it."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR_TOLERANCE)


def _check_packing(path: Path) -> None:
    """Raise ScanFault for an empty file, or one that is compressed or not, against its name."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except FileNotFoundError:
        raise ScanFault("missing", "there is no such file") from None
    except OSError as error:
        raise ScanFault("damaged", f"the file cannot be opened ({type(error).__name__})") from None
    if not start:
        raise ScanFault("empty", "the file is empty (0 bytes)")
    is_packed, says_packed = start == b"\x1f\x8b", path.name.lower().endswith(".gz")
    if is_packed and not says_packed:
        raise ScanFault("damaged", "the file is compressed by gzip, its name says it is not: call it .nii.gz")
    if says_packed and not is_packed:
        raise ScanFault("damaged", "the file is not compressed by gzip, its name says it is: call it .nii")


def _stored_zooms(file: Any, path: Path) -> Float64[np.ndarray, " n"]:
    """Voxel sizes as stored: where they are 0, nibabel puts 1 in their place; with an sform they are not needed."""
    header = file.header
    zooms = np.asarray(header.get_zooms()[:3], dtype=np.float64)
    if "sform_code" not in header or int(header["sform_code"]) > 0:
        return zooms
    with import_nibabel().openers.ImageOpener(path) as stream:
        raw = type(header).from_fileobj(stream, check=False)
    stored = np.asarray(raw["pixdim"][1 : 1 + min(3, len(file.shape))], dtype=np.float64)
    return np.where(stored == 0, 0.0, zooms[: len(stored)])


def _check_shape(shape: tuple[int, ...], volume: int | None, max_values: int) -> None:
    if np.prod(shape, dtype=np.float64) > max_values:
        held = f"{np.prod(shape, dtype=np.float64):.3g}"
        raise ScanFault("limit", f"the volume holds {held} values, over {max_values:g}: --max-values takes more")
    kept = tuple(side for side in shape[3:] if side != 1)
    if len(shape) < 3 or len(shape) > 4 or 0 in shape:
        raise ScanFault("size", f"a volume has three dimensions, this one {shape}")
    if kept and volume is None:
        raise ScanFault("volume", f"the file holds {kept[0]} volumes: say which with --volume 0..{kept[0] - 1}")
    if kept and volume is not None and not 0 <= volume < kept[0]:
        raise ScanFault("volume", f"there is no volume {volume}: the file holds 0..{kept[0] - 1}")


def _checked(
    array: np.ndarray, affine: np.ndarray, zooms: np.ndarray, notes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    if array.dtype.kind not in "biuf":
        what = f"colours ({', '.join(array.dtype.names)})" if array.dtype.names else "complex numbers"
        raise ScanFault("values", f"the volume's voxels are {what}: give one number for each, such as a channel")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (lengths <= 0).any() or (zooms <= 0).any():
        raise ScanFault("spacing", "the voxel size is 0, negative or not finite: repair the header first")
    return array, affine, notes


def _header_notes(header: object) -> tuple[str, ...]:
    notes = []
    codes = {name: int(header[name]) for name in ("qform_code", "sform_code")}  # type: ignore[index]
    if not any(codes.values()):
        notes.append("neither qform nor sform is set: orientation taken as nibabel's default")
    if header.get_xyzt_units()[0] == "unknown":  # type: ignore[attr-defined]
        notes.append("the unit of length is unknown: taken as mm")
    return tuple(notes)


def _read_itk(path: Path, volume: int | None, max_values: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise MissingExtra("SimpleITK", "medical") from error
    try:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        _check_shape(tuple(reader.GetSize()), volume, max_values)
        if len(reader.GetSize()) != 3 or reader.GetNumberOfComponents() != 1:
            raise ScanFault("size", "only volumes of three dimensions and one channel are read from this format")
        image = reader.Execute()
    except RuntimeError as error:
        raise ScanFault("damaged", "the volume cannot be read: cut off or of another format") from error
    array = sitk.GetArrayFromImage(image).T  # SimpleITK answers (k, j, i)
    spacing = np.asarray(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * spacing
    affine[:3, 3] = image.GetOrigin()
    return _checked(array, np.diag([-1.0, -1, 1, 1]) @ affine, spacing, ())
