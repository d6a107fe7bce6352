"""Volumes on `zim serve`: slices of NIfTI and DICOM as images, structures followed through them, labels as NIfTI."""

import secrets
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from zim_plugins.core import Original, Predictor, Prompt, Raster
from zim_plugins.server import (
    PROBLEMS,
    Extension,
    ImageInfo,
    ObjectPrompt,
    Opener,
    Services,
    UnknownImage,
    body_schema,
    media,
)

from .io.errors import ScanFault
from .io.nifti import ITK_SUFFIXES, NIFTI_SUFFIXES, FileSpace, write_nifti
from .io.opening import OpenedScan, open_scan
from .io.placement import SeriesSpace
from .io.reading import ReadingConfig
from .labelling import LabelTable, label_map
from .protocol.for_scans import ForScans
from .protocol.models import PromptedModel
from .segment.following import Follower
from .segment.placing import PlacedMarks, SliceMarks

KEPT_SCANS = 8
MAX_VALUES = 128 * 1024 * 1024
"""Values of one volume; its frames take three bytes for each."""
MAX_STRUCTURES = 32
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


class SeriesInfo(BaseModel):
    """A volume that is kept for a session."""

    id: str
    name: str
    count: int
    """Slices, shown one by one at `/api/series/{id}/{number}`, from 0."""
    width: int
    height: int
    notes: list[str]
    follow: str = ""
    """Where prompts are followed through the slices; empty where the scan cannot carry labels."""


class Structure(BaseModel):
    """One structure and the slices on which it is pointed at."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=200)]
    slices: Annotated[dict[int, ObjectPrompt], Field(min_length=1, max_length=256)]
    """Prompts by slice, from 0."""


class SegmentBody(BaseModel):
    """Structures to follow through the slices."""

    model_config = ConfigDict(extra="forbid")
    structures: Annotated[list[Structure], Field(min_length=1, max_length=MAX_STRUCTURES)]


@dataclass(eq=False)
class OpenSeries:
    """One volume of one session."""

    session: str
    name: str
    opened: OpenedScan
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))


class SeriesStore:
    """Volumes of all sessions within a bound of memory, the one used longest ago let go first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._all: OrderedDict[str, OpenSeries] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, series: OpenSeries) -> None:
        """Keep a volume.

        Raises:
            ScanFault: it does not fit even alone.
        """
        if series.opened.scan.frames.nbytes > self.max_bytes:
            raise ScanFault("size", "the volume takes more memory than the server may use: see --memory-mb")
        with self._lock:
            self._all[series.id] = series
            while len(self._all) > KEPT_SCANS or self.held_bytes > self.max_bytes:
                self._all.popitem(last=False)

    def get(self, session: str, series_id: str) -> OpenSeries:
        """Return a volume of a session.

        Raises:
            UnknownImage: it has none of this identifier.
        """
        with self._lock:
            series = self._all.get(series_id)
            if series is None or series.session != session:
                raise UnknownImage("this session has no such volume, or it was let go: send it again")
            self._all.move_to_end(series_id)
            return series

    @property
    def held_bytes(self) -> int:
        """Memory that all volumes take."""
        return sum(one.opened.scan.frames.nbytes for one in self._all.values())


def register(services: Services) -> Extension:
    """Return the routes of volumes, for `zim serve`."""
    router = APIRouter(prefix="/api/series", responses=PROBLEMS)
    store = SeriesStore(services.settings.memory_bytes)
    form = {
        "type": "object",
        "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
    upload: dict[str, Any] = {"requestBody": {"content": {"multipart/form-data": {"schema": form}}}}

    @router.post("", status_code=201, openapi_extra=upload)
    async def add_series(request: Request) -> SeriesInfo:
        """Send a volume: one NIfTI, MetaImage or NRRD file, or the DICOM files of one series, as form files `image`."""
        files = await services.read_files(request)
        opened = await services.run(open_uploads, files)
        series = OpenSeries(services.session(request), services.safe_name(files[0][0]), opened)
        store.add(series)
        return _describe(series)

    @router.get("/{series_id}/{number}")
    async def show_slice(request: Request, series_id: str, number: int) -> ImageInfo:
        """Make one slice an image of the session, for all routes of images."""
        series = store.get(services.session(request), series_id)
        frames = series.opened.scan.frames
        if not 0 <= number < len(frames):
            raise ScanFault("slice", f"the volume has the slices 0 to {len(frames) - 1}, not {number}")
        rgb = np.ascontiguousarray(frames[number])
        original = Original(rgb=rgb, name=series.name, source_mode="RGB", raster=Raster(rgb, "RGB"))
        return await services.keep(services.hold(request, original, f"{series.name}_{number + 1}"))

    answers: dict[int | str, dict[str, Any]] = {200: media("application/gzip")}

    @router.post(
        "/{series_id}/segment", response_class=Response, responses=answers, openapi_extra=body_schema(SegmentBody)
    )
    async def segment_series(request: Request, series_id: str) -> Response:
        """Follow structures from the slices that they are pointed at on to the others; NIfTI labels come back."""
        series = store.get(services.session(request), series_id)
        body, _ = await services.read_body(request, SegmentBody)
        structures = _placed(body, series.opened)

        def act(predictor: Predictor) -> tuple[bytes, list[str]]:
            return follow(series.opened, structures, predictor)

        content, notes = await services.run_model(act)
        stem = series.name.partition(".")[0]
        return services.file(content, "application/gzip", f"{stem}_seg.nii.gz", **services.said(notes))

    suffixes = [*NIFTI_SUFFIXES, *ITK_SUFFIXES, *DICOM_SUFFIXES]
    suffixes.remove(".mhd")  # its voxels lie in another file
    opener = Opener(label="A volume", suffixes=suffixes, path="/api/series")
    return Extension("medical", router, openers=(opener,))


def open_uploads(files: list[tuple[str, bytes]]) -> OpenedScan:
    """Read a volume from the files that a client sent.

    They are written to a folder of their own for the readers, under names that are ours, and gone afterwards.

    Raises:
        ScanFault: they are no volume, or of several.
    """
    name = files[0][0].lower()
    suffix = next((one for one in sorted((*NIFTI_SUFFIXES, *ITK_SUFFIXES), key=len)[::-1] if name.endswith(one)), "")
    config = ReadingConfig(max_values=MAX_VALUES)
    with tempfile.TemporaryDirectory() as folder:
        if suffix:
            if len(files) > 1:
                raise ScanFault("files", "send one volume file, or the DICOM files of one series")
            path = Path(folder, f"scan{suffix}")
            path.write_bytes(files[0][1])
            return open_scan(path, config)
        for number, (_, content) in enumerate(files):
            Path(folder, f"{number:06d}.dcm").write_bytes(content)
        return open_scan(Path(folder), config)


def follow(opened: OpenedScan, structures: list[PlacedMarks], predictor: Predictor) -> tuple[bytes, list[str]]:
    """Follow structures through a volume; return a NIfTI label file and what its owner should know.

    Slices are answered as `zim-medseg segment` answers them by default.
    """
    adapted, _ = ForScans(click_scales="auto", polarities="auto").adapted(predictor)
    model = PromptedModel(adapted, name="served")
    scan, notes, masks = opened.scan, [], []
    follower = Follower(model, scan.frames)
    for one in structures:
        found = follower.follow(one)
        stack = np.zeros(scan.frames.shape[:3], dtype=bool)
        for frame, mask in found.masks.items():
            stack[frame] = mask
        masks.append((one.name, stack))
        notes += [*found.notes, *(f"{one.name} ends {side}: {why}" for side, why in found.ends.items())]
    labels, twice = label_map(masks, LabelTable({one.name: one.value for one in structures}))
    if twice:
        notes.append(f"{twice} voxels were claimed twice: the smaller structure has them")
    space = scan.space
    assert isinstance(space, FileSpace | SeriesSpace)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "labels.nii.gz")
        write_nifti(path, space.restore(labels), space.affine, space.stored if isinstance(space, FileSpace) else None)
        return path.read_bytes(), notes


def _placed(body: SegmentBody, opened: OpenedScan) -> list[PlacedMarks]:
    if not isinstance(opened.scan.space, FileSpace | SeriesSpace):
        raise ScanFault("format", "the slices do not say where they lie: no format can hold their labels in place")
    size = opened.scan.frames.shape[1], opened.scan.frames.shape[2]
    names = [one.name for one in body.structures]
    if len(set(names)) < len(names):
        raise ValueError("two structures have one name: give each its own")
    placed = []
    for value, one in enumerate(body.structures, start=1):
        slices = {}
        for number, given in one.slices.items():
            if not 0 <= number < len(opened.scan.frames):
                raise ValueError(f"the volume has the slices 0 to {len(opened.scan.frames) - 1}, not {number}")
            slices[number] = _on_slice(given.prompt(size), size)
        placed.append(PlacedMarks(one.name, value, dict(sorted(slices.items()))))
    return placed


def _on_slice(prompt: Prompt, size: tuple[int, int]) -> SliceMarks:
    if prompt.box is not None or (prompt.labels is not None and (prompt.labels == 1).any()):
        prompt.check_inside(size)
    points = []
    if prompt.points is not None and prompt.labels is not None:
        points = [(x, y, label) for (x, y), label in zip(prompt.points.tolist(), prompt.labels.tolist(), strict=True)]
    box = None
    if prompt.box is not None:
        x1, y1, x2, y2 = prompt.box.tolist()
        box = (x1, y1, x2, y2)
    return SliceMarks(points, box)


def _describe(series: OpenSeries) -> SeriesInfo:
    scan = series.opened.scan
    can_follow = isinstance(scan.space, FileSpace | SeriesSpace)
    return SeriesInfo(
        id=series.id,
        name=series.name,
        count=len(scan.frames),
        width=scan.frames.shape[2],
        height=scan.frames.shape[1],
        notes=[*scan.notes],
        follow=f"/api/series/{series.id}/segment" if can_follow else "",
    )
