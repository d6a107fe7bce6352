"""RT structure sets: closed planar contours read as masks of a series, and masks written as contours.

A voxel belongs to a structure where its centre lies inside an odd number of the slice's contours, so that a contour
inside another one is a hole. Written holes are joined to the outline by a channel of no width, as the standard has it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64

from zim_plugins.imaging import atomic_path

from .association import Kept, make_uid, named_instances, source_headers, source_series
from .dicom import RTSTRUCT_CLASS, Series
from .dicom_pixels import import_pydicom, read_header
from .errors import ScanFault
from .placement import LPS_TO_RAS, SeriesSpace

if TYPE_CHECKING:
    import pydicom

MAX_BETWEEN = 0.5
"""Distance of a contour from its slice, in slices, above which it lies on none."""
MAX_TILT_MM = 0.1
"""Distance of a contour's points from one plane above which it is not planar."""
_COLOURS = ((230, 60, 60), (60, 130, 230), (70, 180, 75), (240, 190, 40), (160, 80, 200), (60, 190, 190))


def structure_names(path: Path) -> dict[int, str]:
    """Return the name of each structure by its number.

    Raises:
        ScanFault: the file is damaged.
    """
    try:
        return {int(roi.ROINumber): str(roi.get("ROIName", "") or f"roi_{roi.ROINumber}")
                for roi in read_header(path).get("StructureSetROISequence", [])}  # fmt: skip
    except (AttributeError, TypeError, ValueError):
        raise ScanFault("rtstruct", "a structure lacks its number: the file is damaged") from None


def read_structures(
    path: Path, series: Series, notes: list[str] | None = None
) -> list[tuple[str, Bool[np.ndarray, "n h w"]]]:
    """Read structures as (name, mask on the series' own frames); structures may overlap.

    Args:
        series: that it was drawn on.
        notes: takes what was left out.

    Raises:
        ScanFault: damaged, without contours, drawn on another series, or the series does not say where it lies.
    """
    # Check that the structures were drawn on this series.
    planes = series.planes
    if planes is None:
        raise ScanFault("rtstruct", "the series does not say where it lies: contours in mm cannot be laid on it")
    header = read_header(path)
    names = structure_names(path)
    reference = source_series(path)[1]
    if not named_instances(header) & set(series.instance_uids) and reference not in ("", series.frame_of_reference):
        raise ScanFault("rtstruct", "the structures were drawn in another frame of reference than this series")
    said = notes if notes is not None else []
    gap = float(np.diff(planes.depths).min()) if len(planes.depths) > 1 else max(series.spacing_mm or (1.0,))
    found, off, others, drawn = [], 0, 0, 0
    try:
        for roi in header.get("ROIContourSequence", []):
            mask = np.zeros((len(series.instance_uids), *series.size), dtype=bool)
            for contour in roi.get("ContourSequence", []):
                if str(contour.get("ContourGeometricType", "")) not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
                    others += 1
                    continue
                # Find the frame that the contour lies on.
                points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
                depths = points @ planes.normal
                place = int(np.abs(planes.depths - depths.mean()).argmin())
                if np.ptp(depths) > MAX_TILT_MM or abs(planes.depths[place] - depths.mean()) > MAX_BETWEEN * gap:
                    off += 1
                    continue
                # Fill it there; a contour inside another one is a hole.
                to_frame = np.linalg.inv(planes.frame_affine(place))
                pixels = (np.c_[points, np.ones(len(points))] @ to_frame.T)[:, :2]
                mask[place] ^= fill_polygon(pixels, series.size)
                drawn += 1
            if mask.any():
                found.append((names.get(int(roi.ReferencedROINumber), f"roi_{roi.ReferencedROINumber}"), mask))
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise ScanFault(
            "rtstruct", f"the contours cannot be read ({type(error).__name__}): the file is damaged"
        ) from None
    if off:
        said.append(f"contours that lie on no slice of the series: {off}, left out")
    if others:
        said.append(f"points and open contours, which enclose nothing: {others}, left out")
    if not found:
        why = f"none of its {off} contours lies on a slice of the series" if off else "it holds no closed contour"
        raise ScanFault(
            "rtstruct", f"the structure set outlines nothing here: {why if not drawn else 'no voxel centre'}"
        )
    return found


def fill_polygon(points: Float64[np.ndarray, "n 2"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Pixels whose centres lie inside a polygon, by the number of its sides to the left of them.

    Args:
        points: (x, y) of the corners, whole numbers at pixel centres; the last one joins the first.
        size: rows and columns.

    >>> fill_polygon(np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 1.5], [0.5, 1.5]]), (3, 4)).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    height, width = size
    crossings = np.zeros((height, width + 1), dtype=np.int64)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        if y1 > y2:  # a side and its way back must meet the same pixels
            x1, y1, x2, y2 = x2, y2, x1, y1
        # Half open, so that a corner at a row's height counts once.
        low, high = int(np.ceil(y1)), int(np.ceil(y2))
        rows = np.arange(max(low, 0), min(high, height))
        x = x1 + (rows - y1) * (x2 - x1) / (y2 - y1)
        np.add.at(crossings, (rows, np.clip(np.ceil(x), 0, width).astype(int)), 1)
    return np.cumsum(crossings[:, :width], axis=1) % 2 == 1


def outline_mask(mask: Bool[np.ndarray, "h w"]) -> list[Float64[np.ndarray, "n 2"]]:
    """Polygons (x, y) that hold exactly the pixel centres of a mask: one a component, its holes joined by channels."""
    from skimage.measure import find_contours, label

    if not mask.any():
        return []
    polygons = []
    numbered = np.asarray(label(mask, connectivity=1))
    for number in range(1, int(numbered.max()) + 1):
        part = np.pad(numbered == number, 1)
        # Between the centres of neighbours; "low" keeps diagonal neighbours, which are other components, apart.
        rings = [ring[:-1, ::-1] - 1 for ring in find_contours(part.astype(np.float64), 0.5, fully_connected="low")]
        rings.sort(key=lambda ring: -abs(_area(ring)))
        outline = rings[0]
        for hole in rings[1:]:
            outline = _joined(outline, hole)
        polygons.append(outline)
    return polygons


def write_structures(
    path: Path,
    masks: Sequence[tuple[str, Bool[np.ndarray, "s h w"]]],
    space: SeriesSpace,
    *,
    model: str,
    case_id: str,
    salt: bytes,
    kept: Kept = "nothing",
) -> None:
    """Write masks as one RT structure set in the series' own space.

    Args:
        masks: (name, mask) on the series' frames.
        model: what made the masks.
        case_id: takes the place of the patient's id.
        salt: of the hashes that take the place of UIDs.
        kept: what of the source is named besides the geometry.

    Raises:
        ValueError: no mask is given, or all of them are empty.
        ScanFault: the sources are gone.
    """
    pydicom = import_pydicom()
    if not masks or not any(mask.any() for _, mask in masks):
        raise ValueError("a structure set needs at least one mask that is not empty")
    sources = source_headers(space.paths, case_id=case_id, salt=salt, kept=kept)
    first, seed = sources[0], salt + case_id.encode() + model.encode() + b"rtstruct"
    whole = pydicom.Dataset()
    whole.SOPClassUID, whole.SOPInstanceUID = RTSTRUCT_CLASS, make_uid(seed, b"instance")
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
                    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
        whole[keyword] = first[keyword]
    whole.Modality, whole.SeriesInstanceUID = "RTSTRUCT", make_uid(seed, b"series")
    whole.SeriesNumber, whole.InstanceNumber, whole.OperatorsName = 1, 1, ""
    whole.Manufacturer, whole.ManufacturerModelName = "zim-plugins", model[:64]
    whole.StructureSetLabel, whole.StructureSetDate, whole.StructureSetTime = "RESEARCH_ONLY", "", ""
    whole.ApprovalStatus, whole.FrameOfReferenceUID = "UNAPPROVED", first.FrameOfReferenceUID
    images = [_item(ReferencedSOPClassUID=s.SOPClassUID, ReferencedSOPInstanceUID=s.SOPInstanceUID) for s in sources]
    series = _item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
    study = _item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=first.StudyInstanceUID,
                  RTReferencedSeriesSequence=[series])  # fmt: skip
    whole.ReferencedFrameOfReferenceSequence = [
        _item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    ]
    rois, contours, observations = [], [], []
    for number, (name, mask) in enumerate(masks, start=1):
        rois.append(_item(ROINumber=number, ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID, ROIName=name[:64],
                          ROIGenerationAlgorithm="SEMIAUTOMATIC"))  # fmt: skip
        entry = _item(ReferencedROINumber=number, ROIDisplayColor=list(_COLOURS[(number - 1) % len(_COLOURS)]))
        drawn = list(_contours(mask, space, sources))
        if drawn:
            entry.ContourSequence = drawn
        contours.append(entry)
        observations.append(_item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="",
                                  ROIInterpreter=""))  # fmt: skip
    whole.StructureSetROISequence, whole.ROIContourSequence = rois, contours
    whole.RTROIObservationsSequence = observations
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = whole.SOPClassUID, whole.SOPInstanceUID
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    whole.file_meta = meta
    with atomic_path(path) as temporary:
        whole.save_as(temporary, enforce_file_format=True)


def _contours(mask: np.ndarray, space: SeriesSpace, sources: "Sequence[pydicom.Dataset]") -> "list[pydicom.Dataset]":
    """Contours of a mask, slice by slice, each with the image that it lies on."""
    found = []
    to_lps = LPS_TO_RAS @ space.affine
    for frame in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
        for polygon in outline_mask(mask[frame]):
            voxels = np.c_[polygon, np.full(len(polygon), space.grid[frame]), np.ones(len(polygon))]
            points = (voxels @ to_lps.T)[:, :3]
            item = _item(
                ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(points),
                ContourData=[f"{v:.10g}" for v in points.ravel()],
            )  # fmt: skip
            if not space.is_resampled:
                source = sources[frame if len(sources) == len(mask) else 0]
                image = _item(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID)
                if space.frame_numbers:
                    image.ReferencedFrameNumber = space.frame_numbers[frame] + 1
                item.ContourImageSequence = [image]
            found.append(item)
    return found


def _item(**elements: Any) -> "pydicom.Dataset":
    item = import_pydicom().Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _area(ring: Float64[np.ndarray, "n 2"]) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _joined(outline: Float64[np.ndarray, "n 2"], hole: Float64[np.ndarray, "m 2"]) -> Float64[np.ndarray, "k 2"]:
    """An outline that goes in to a hole, round it, and back the same way: both ways cancel for every pixel."""
    apart = np.linalg.norm(outline[:, None] - hole[None], axis=2)
    at, into = np.unravel_index(int(apart.argmin()), apart.shape)
    round_it = np.roll(hole, -into, axis=0)
    return np.concatenate([outline[: at + 1], round_it, round_it[:1], outline[at:]])
