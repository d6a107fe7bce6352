"""WeightCache: blending weights of views on disk, so that a second object in a scene does not compute them again.

A file is one view. Its name is a digest of all that its weights depend on: means, scales, rotations and opacities of
the Gaussians, the camera at the size that is worked at, and the source of what computes them. Another scene, camera,
size or release therefore never meets it; a file that is damaged, or says of itself that it is another, is computed
anew.
"""

import contextlib
import hashlib
import io
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

from zim_plugins.imaging import atomic_write

from . import camera as camera_source
from . import model as model_source
from . import rendering as rendering_source
from .camera import Camera
from .model import Gaussians
from .rendering import SplatSamples, view_weights

logger = logging.getLogger(__name__)

CACHE_FOLDER = "zim_splat_views"
"""Beside the scene, unless told otherwise."""
CACHE_LIMIT = 20e9
"""Bytes of all views in the folder, unless told otherwise."""
DIGEST_BYTES = hashlib.sha256().digest_size
"""Of the contents, at the beginning of each file."""
DISK_RESERVE = int(1e9)
"""Bytes of the disk that are left free."""
_OWN_FILE = re.compile(r"[0-9a-f]{64}\.view")
_HALF_FILE = re.compile(r"\.[0-9a-f]{64}\.view\.[0-9a-f]{32}\.tmp")
_KILLED_AFTER_S = 3600.0
"""Age from which a half file is what a killed run left, and not what another run is writing."""


class WeightCache:
    """Weights of the views of one scene, read from a folder where they lie there, else computed and kept in it.

    The folder may serve any number of scenes. It never holds more than its limit, nor fills the disk: views that were
    used longest ago, of other objects' cameras or scenes, make room; where that is not enough, a view is not kept.

    >>> from tempfile import TemporaryDirectory
    >>> one = Gaussians(torch.zeros(1, 3), torch.ones(1, 3), torch.eye(4)[:1], torch.ones(1), torch.zeros(1, 1, 3))
    >>> eye = Camera("a.png", (2, 2), (2.0, 2.0), (1.0, 1.0), np.eye(4) + np.eye(4, k=1) * [[0], [0], [3], [0]])
    >>> with TemporaryDirectory() as folder:
    ...     first = WeightCache(Path(folder), one, [eye])
    ...     again = WeightCache(Path(folder), one, [eye])
    ...     same = (first(one, eye).weights != again(one, eye).weights).nnz == 0
    >>> same, first.written, again.read
    (True, 1, 1)

    Args:
        folder: of the files; made when the first view is kept.
        gaussians: of the scene.
        cameras: whose views will be asked for.
        limit: bytes of all files in the folder.
        render: computes the weights.
    """

    def __init__(
        self,
        folder: Path,
        gaussians: Gaussians,
        cameras: Iterable[Camera],
        limit: float = CACHE_LIMIT,
        render: Callable[[Gaussians, Camera], SplatSamples] = view_weights,
    ) -> None:
        self.folder, self.limit, self.render = folder, limit, render
        self.read = self.written = self.read_bytes = self.written_bytes = 0
        self._scene = _scene_digest(gaussians)
        self._wanted = {self.path(camera) for camera in cameras}
        self._said: set[str] = set()
        self._lock = threading.Lock()  # a view may be made ahead in another thread
        self._clear_killed()

    def path(self, camera: Camera) -> Path:
        """Return the file of a camera's view."""
        digest = hashlib.sha256(self._scene)
        digest.update(repr((camera.size, camera.focal, camera.centre, camera.distortion)).encode())
        digest.update(np.ascontiguousarray(camera.world_to_camera, dtype="<f8").tobytes())
        return self.folder / f"{digest.hexdigest()}.view"

    def __call__(self, gaussians: Gaussians, camera: Camera) -> SplatSamples:
        """Return the weights of all pairs of pixel and Gaussian in one view.

        Args:
            gaussians: those that the cache was made for.
            camera: of the view; one that was not announced is computed and not kept.
        """
        path = self.path(camera)
        if path not in self._wanted:
            return self.render(gaussians, camera)
        try:
            samples = _read(path, camera.size, len(gaussians))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self._say_once("damaged", "%s is not usable (%s): its view is computed anew", path, _line(error))
        else:
            self.read, self.read_bytes = self.read + 1, self.read_bytes + samples.memory
            with contextlib.suppress(OSError):  # another user's folder is read all the same
                os.utime(path)
            return samples
        samples = self.render(gaussians, camera)
        with self._lock:
            self._keep(path, samples)
        return samples

    def report(self) -> dict[str, str | int]:
        """Return what was read and written, ready for JSON."""
        return {
            "folder": str(self.folder),
            "views read": self.read,
            "bytes read": self.read_bytes,
            "views written": self.written,
            "bytes written": self.written_bytes,
        }

    def _keep(self, path: Path, samples: SplatSamples) -> None:
        size = _bytes_on_disk(samples)
        try:
            if not self._announced(size) or not self._make_room(size):
                return
            _write(path, samples)
        except OSError as error:
            self._say_once("refused", "blending weights are not kept in %s: %s", self.folder, _line(error))
            self.limit = 0
            return
        self.written, self.written_bytes = self.written + 1, self.written_bytes + size

    def _announced(self, size: int) -> bool:
        """Say before the first file what all of them will take; return whether anything may be kept."""
        if self.limit <= 0:
            return False
        missing = sum(not path.exists() for path in self._wanted)
        total, free = missing * size, self._free()
        text = "blending weights of %d views take about %.2f GB in %s"
        values = (missing, total / 1e9, self.folder)
        if total > min(self.limit, free):
            text += (
                ", of which at most %.2f GB are kept (limit %.2f GB, disk %.2f GB free): the rest is computed each time"
            )
            values += (max(min(self.limit, free), 0) / 1e9, self.limit / 1e9, (free + DISK_RESERVE) / 1e9)
        self._say_once("size", text, *values, level=logging.INFO)
        return True

    def _make_room(self, size: int) -> bool:
        """Remove views that this run does not want, those used longest ago first, until a file of `size` fits."""
        files = {path: path.stat() for path in self._files()}
        lacking = max(sum(stat.st_size for stat in files.values()) + size - self.limit, size - self._free())
        others = sorted((p for p in files if p not in self._wanted), key=lambda p: files[p].st_mtime)
        if lacking > sum(files[path].st_size for path in others):
            return False
        while lacking > 0:
            oldest = others.pop(0)
            oldest.unlink(missing_ok=True)
            lacking -= files[oldest].st_size
            self._say_once("others", "views of other scenes or sizes, used longest ago, leave %s", self.folder)
        return True

    def _free(self) -> int:
        """Bytes that may still be written to the disk."""
        there = next(place for place in (self.folder, *self.folder.absolute().parents) if place.exists())
        return shutil.disk_usage(there).free - DISK_RESERVE

    def _files(self) -> list[Path]:
        return (
            [path for path in self.folder.iterdir() if _OWN_FILE.fullmatch(path.name)] if self.folder.is_dir() else []
        )

    def _clear_killed(self) -> None:
        """Remove half files that killed runs left."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            try:
                if _HALF_FILE.fullmatch(path.name) and time.time() - path.stat().st_mtime > _KILLED_AFTER_S:
                    path.unlink(missing_ok=True)
            except OSError:  # another run has removed it, or this user may not
                continue

    def _say_once(self, kind: str, text: str, *values: object, level: int = logging.WARNING) -> None:
        if kind not in self._said:
            self._said.add(kind)
            logger.log(level, text, *values)


def _scene_digest(gaussians: Gaussians) -> bytes:
    digest = hashlib.sha256()
    for source in (rendering_source, camera_source, model_source):
        digest.update(Path(str(source.__file__)).read_bytes())
    for part in (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities):
        digest.update(repr((part.dtype, tuple(part.shape))).encode())
        digest.update(part.contiguous().cpu().numpy().tobytes())
    return digest.digest()


def _bytes_on_disk(samples: SplatSamples) -> int:
    """Size of a view's file but for its headers; arrays are stored as they are."""
    return samples.memory + 8 * len(samples.depth) + 2048


def _write(path: Path, samples: SplatSamples) -> None:
    content = io.BytesIO()
    weights = samples.weights
    arrays = (weights.data, weights.indices, weights.indptr, samples.depth.numpy(), samples.accumulation.numpy())
    for array in (np.array(path.stem), *arrays):
        np.save(content, array, allow_pickle=False)
    payload = content.getbuffer()
    with atomic_write(path) as stream:
        stream.write(hashlib.sha256(payload).digest())
        stream.write(payload)


def _read(path: Path, size: tuple[int, int], count: int) -> SplatSamples:
    """Read a view.

    Raises:
        OSError, ValueError: it cannot be read, is damaged, or another view's.
    """
    whole = memoryview(path.read_bytes())
    digest, payload = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError("it is damaged: its digest is another")
    content = io.BytesIO(payload)
    view, weights, columns, rows, depth, accumulation = (np.load(content, allow_pickle=False) for _ in range(6))
    if str(view) != path.stem:
        raise ValueError("it holds another view")
    pixels = size[0] * size[1]
    floats = [weights, depth, accumulation]
    if any(part.dtype != np.float32 or part.ndim != 1 for part in floats) or len(columns) != len(weights):
        raise ValueError("its arrays are not those of a view")
    if rows.shape != (pixels + 1,) or depth.shape != (pixels,) or accumulation.shape != (pixels,):
        raise ValueError("it is of another size")
    if rows[0] != 0 or rows[-1] != len(weights) or (np.diff(rows) < 0).any():
        raise ValueError("its rows do not follow each other")
    if len(columns) and not 0 <= int(columns.min()) <= int(columns.max()) < count:
        raise ValueError("it names Gaussians that are not there")
    return SplatSamples(
        weights=csr_matrix((weights, columns, rows), shape=(pixels, count), copy=False),
        depth=torch.from_numpy(depth),
        accumulation=torch.from_numpy(accumulation),
        size=size,
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
