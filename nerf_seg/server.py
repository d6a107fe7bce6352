"""Finished runs on `zim serve`: views and files of `ns-train sa3d-zim` and `zim-splat`, to look at and to take.

Only folders that the server was started with are read. A request names a run by its identifier, a view by its number
and a file by a name that is on the run's list: nothing that a client sends becomes a path.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from zim_plugins.server import PROBLEMS, Extension, Gallery, Services, UnknownImage, media

LAYERS = ("overlay", "alpha", "matte", "rgba")
"""Folders of a run's views, by what they show."""
SHEET = "contact_sheet.png"
KINDS = {".ply": "application/octet-stream", ".splat": "application/octet-stream", ".spz": "application/octet-stream"}
KINDS |= {".png": "image/png", ".json": "application/json", ".mp4": "video/mp4", ".gif": "image/gif"}
_SCENES = (".ply", ".compressed.ply", ".splat", ".spz")
FILES = (
    *(f"{stem}{suffix}" for stem in ("object", "rest", "membership") for suffix in _SCENES),
    *("object_pointcloud.ply", "object_mesh.ply", "object_only.png", "removed.png", SHEET, "report.json"),
    *(f"{stem}{suffix}" for stem in ("object_only", "removed") for suffix in (".mp4", ".gif")),
)  # fmt: skip
"""What a run leaves, besides its views, that is given to clients."""
MAX_DEPTH = 6
MAX_RUNS = 500
_NO_RUNS_IN = {*LAYERS, "nerfstudio_models", "images", "node_modules"}


class FileInfo(BaseModel):
    """A file of a run."""

    name: str
    bytes: int


class RunInfo(BaseModel):
    """A finished run."""

    id: str
    name: str
    """Its folder, below the one that the server was started with."""
    about: str
    """One line: what was asked and what came of it."""
    views: list[str]
    """Names of the views; their images lie at `/api/runs/{id}/views/{number}/{layer}`, from 0."""
    layers: list[str]
    """Those of `overlay`, `alpha`, `matte` and `rgba` that at least one view has."""
    files: list[FileInfo]


@dataclass(frozen=True)
class Run:
    """One finished run on disk."""

    folder: Path
    root: Path
    """The folder of the server's that it lies in."""
    views: tuple[str, ...] = field(default=())
    """Paths below each layer's folder, without the suffix .png."""

    @property
    def id(self) -> str:
        """Return what names it: a digest of where it lies, so that it stays the same until the server ends."""
        return hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:20]

    def image(self, number: int, layer: str) -> Path:
        """Return the file of one view.

        Raises:
            UnknownImage: there is none.
        """
        if layer not in LAYERS or not 0 <= number < len(self.views):
            raise UnknownImage(f"the run has the views 0 to {len(self.views) - 1}, each as one of {', '.join(LAYERS)}")
        return self._within(self.folder / layer / f"{self.views[number]}.png")

    def file(self, name: str) -> Path:
        """Return another file of the run.

        Raises:
            UnknownImage: it is not there, or none of those that are given out.
        """
        if name not in FILES:
            raise UnknownImage("a run gives out its scenes, meshes, images and its report, by their names")
        return self._within(self.folder / name)

    def files(self) -> list[FileInfo]:
        """Return those files that are there."""
        found = ((name, self.folder / name) for name in FILES)
        return [FileInfo(name=name, bytes=path.stat().st_size) for name, path in found if self._is_ours(path)]

    def layers(self) -> list[str]:
        """Return those layers that are there."""
        return [layer for layer in LAYERS if any((self.folder / layer).rglob("*.png"))]

    def _within(self, path: Path) -> Path:
        if not self._is_ours(path):
            raise UnknownImage(f"the run has no {path.relative_to(self.folder).as_posix()}")
        return path

    def _is_ours(self, path: Path) -> bool:
        """Return whether it is a file that no link leads out of the server's folder."""
        return path.is_file() and path.resolve().is_relative_to(self.root.resolve())


def register(services: Services) -> Extension:
    """Return the routes of finished runs, for `zim serve`."""
    router = APIRouter(prefix="/api/runs", responses=PROBLEMS)
    folders = services.settings.folders
    images: dict[int | str, dict[str, Any]] = {200: media("image/png")}
    others: dict[int | str, dict[str, Any]] = {200: media(*dict.fromkeys(KINDS.values()))}

    known: dict[str, Run] = {}

    def look() -> list[Run]:
        runs = find_runs(folders)
        known.clear()
        known.update({run.id: run for run in runs})
        return runs

    def find(run_id: str) -> Run:
        if run_id not in known:
            look()
        if run_id not in known:
            raise UnknownImage("there is no such run in the folders that the server was started with")
        return known[run_id]

    @router.get("")
    async def list_runs() -> list[RunInfo]:
        """List the finished runs in the folders that the server was started with, the newest first."""
        return await services.run(lambda: [describe(run) for run in look()])

    @router.get("/{run_id}/views/{number}/{layer}", response_class=Response, responses=images)
    async def show_view(request: Request, run_id: str, number: int, layer: str) -> Response:
        """Return one view: `overlay`, `alpha` (in 3D), `matte` (matted once more) or `rgba` (the object cut out)."""
        path = await services.run(lambda: find(run_id).image(number, layer))
        return FileResponse(path, media_type="image/png", headers={"cache-control": "no-cache"})

    @router.get("/{run_id}/files/{name}", response_class=Response, responses=others)
    async def take_file(request: Request, run_id: str, name: str) -> Response:
        """Return a file of the run, such as the object's .ply."""
        path = await services.run(lambda: find(run_id).file(name))
        stem = services.safe_name(path.parent.name)
        return FileResponse(path, media_type=KINDS[path.suffix], filename=f"{stem}_{name}")

    galleries = (Gallery(label="3D objects", path="/api/runs"),) if folders else ()
    return Extension("nerf_seg", router, galleries=galleries)


def find_runs(folders: tuple[Path, ...]) -> list[Run]:
    """Return the finished runs in folders and below them, the newest first.

    A run is finished when its report.json is there: `sa3d-zim` and `zim-splat` write it last.
    """
    found: dict[Path, Run] = {}
    for root in folders:
        for folder in _reports(root):
            if folder.resolve() not in found and len(found) < MAX_RUNS:
                found[folder.resolve()] = Run(folder, root, _views(folder))
    return sorted(found.values(), key=lambda run: ((run.folder / "report.json").stat().st_mtime, str(run.folder)))[::-1]


def describe(run: Run) -> RunInfo:
    """Return what clients are told of a run; a damaged report costs its sentence alone."""
    try:
        report = json.loads((run.folder / "report.json").read_text(encoding="utf-8"))
        prompted = ", ".join(map(str, report.get("prompted_views") or [report["reference_view"]]))
        about = f"prompted in {prompted}; {report['accepted']} of {report['views']} views agree"
        if "gaussians" in report:
            about += f"; {report['gaussians']['object']} of {report['gaussians']['scene']} Gaussians"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        about = "its report.json cannot be read"
    inside = run.folder.relative_to(run.root).as_posix()
    return RunInfo(
        id=run.id,
        name=run.root.resolve().name if inside == "." else inside,
        about=about,
        views=[*run.views],
        layers=run.layers(),
        files=run.files(),
    )


def _reports(root: Path) -> Iterator[Path]:
    """Folders of finished runs, at a bounded depth; links to folders are not followed."""
    for place, inner, names in os.walk(root):
        folder = Path(place)
        if "report.json" in names and (folder / "alpha").is_dir():
            yield folder
        too_deep = len(folder.relative_to(root).parts) >= MAX_DEPTH
        inner[:] = [] if too_deep else sorted(n for n in inner if n not in _NO_RUNS_IN and not n.startswith("."))


def _views(folder: Path) -> tuple[str, ...]:
    alpha = folder / "alpha"
    return tuple(sorted(path.relative_to(alpha).with_suffix("").as_posix() for path in alpha.rglob("*.png")))
