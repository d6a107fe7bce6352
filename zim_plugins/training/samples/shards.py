"""Training data out of shards of SA1B-Matte: photographs and mattes by number, so that resuming is exact."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from zim_plugins.core.prompt import Prompt
from zim_plugins.core.transforms import frame_size
from zim_plugins.data.conversion.shard_job import read_manifest
from zim_plugins.data.faults import DataError
from zim_plugins.data.sa1b_matte import MattedImage, MatteShards, OpenShard
from zim_plugins.imaging.geometry import window_of
from zim_plugins.training.distributed import WHOLE, Share
from zim_plugins.training.samples.batches import Batch, batch_of
from zim_plugins.training.samples.compositing import Scene
from zim_plugins.training.samples.library import Split, held_out
from zim_plugins.training.samples.prompts import PromptSampling, sample_prompt

ONE_IN = 100
"""Photographs of which one is kept apart for choosing a checkpoint; by its name alone."""
SHARDS_AT_ONCE = 4
"""Shards among which photographs are drawn at one time: 45,000 photographs of SA-1B."""
MIN_OBJECT_PX = 16
"""Pixels above one half that a matte must have in the frame to be asked for."""
PATIENCE = 50
"""Photographs in a row that may be unusable."""


@dataclass(frozen=True, eq=False)
class ShardLibrary:
    """Shards of mattes, and how many photographs each holds."""

    mattes: Any
    """`MatteShards`: beartype refuses the hints of its base class, a torch data set."""
    photographs: tuple[int, ...]
    """In each shard, by its manifest."""
    split: Split = "train"
    _opened: "OrderedDict[Path, OpenShard]" = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def describe(self) -> str:
        """One line for the log."""
        return f"{sum(self.photographs)} photographs with mattes in {len(self.photographs)} shards"

    def open_shard(self, number: int) -> OpenShard:
        """The photographs of this split in a shard; the shards used last stay open."""
        path = self.mattes.shards[number]
        with self._lock:
            if path not in self._opened:
                opened = self.mattes.open_shard(path)
                wanted = self.split == "held_out"
                keys = tuple(k for k in opened.keys if held_out(k, ONE_IN) == wanted)
                self._opened[path] = OpenShard(path, keys, opened.members)
                while len(self._opened) > 2 * SHARDS_AT_ONCE:
                    self._opened.popitem(last=False)
            self._opened.move_to_end(path)
            return self._opened[path]


def load_shards(
    folder: Path, photographs: Path | None, masks_per_image: int
) -> tuple[ShardLibrary, ShardLibrary | None]:
    """Shards to train on, and what of them is kept apart; None where that is nothing.

    Args:
        folder: of shards that are done, as `zim convert` writes them.
        photographs: the SA-1B shards they were made from; None where the photographs were copied into them.
        masks_per_image: mattes that are read of a photograph at one time.

    Raises:
        DataError: there is no shard that is done, or no photograph.
    """
    mattes = MatteShards(folder, photographs, masks_per_image=masks_per_image)
    counts = tuple(int(read_manifest(p.with_suffix(".done.json"))["counts"]["images"]) for p in mattes.shards)
    if sum(counts) == 0:
        raise DataError(f"{folder} holds shards, but no photograph with mattes")
    library = ShardLibrary(mattes, counts)
    kept = ShardLibrary(mattes, counts, "held_out")
    biggest = int(np.argmax(counts))
    return library, kept if kept.open_shard(biggest).keys else None


@dataclass(frozen=True, eq=False)
class ShardSource:
    """Batches by number out of shards; each photograph comes once an epoch, several of its mattes at a time."""

    library: ShardLibrary
    frame_px: int
    batch_size: int
    prompts_per_image: int = 4
    seed: int = 0
    zoomed: float = 0.0
    """Share of the images that are framed round one matte; the others are shown whole, as SAM and ZIM do."""
    sampling: PromptSampling = PromptSampling()
    share: Share = WHOLE
    threads: int = 4

    def batch(self, step: int) -> Batch:
        """This process's rows of the batch of one step."""
        return self._assembled([self.asked(step, row) for row in self._rows()])

    def batches(self, start: int, stop: int, ahead: int = 3) -> Iterator[Batch]:
        """Batches of steps `start` to `stop`, made by threads that work ahead."""
        with ThreadPoolExecutor(self.threads) as pool:
            waiting = deque(self._submit(pool, step) for step in range(start, min(start + ahead, stop)))
            for step in range(start + ahead, stop + ahead):
                if step < stop:
                    waiting.append(self._submit(pool, step))
                yield self._assembled([made.result() for made in waiting.popleft()])

    def _submit(self, pool: ThreadPoolExecutor, step: int) -> list:
        return [pool.submit(self.asked, step, row) for row in self._rows()]

    def _rows(self) -> range:
        return range(self.batch_size)[self.share.rows(self.batch_size)]

    def _assembled(self, asked: list) -> Batch:
        return batch_of(asked, self.frame_px, self.sampling.max_tokens, self._rows())

    def asked(self, step: int, row: int) -> tuple[Scene, list[Prompt]]:
        """Return the scene of one row, and what is asked of it."""
        rng = np.random.default_rng((self.seed, step, row))
        shard, first = self.place(step * self.batch_size + row)
        for number in range(first, first + PATIENCE):
            opened = self.library.open_shard(shard)
            if not opened.keys:  # nothing of a small shard belongs to this split
                shard = (shard + 1) % len(self.library.photographs)
                continue
            matted = self.library.mattes.read(opened, opened.keys[number % len(opened.keys)], rng)
            scene = None if matted is None else self._scene(matted, rng)
            if scene is not None:
                times = range(self.prompts_per_image)
                return scene, [sample_prompt(scene.alphas[k % len(scene.alphas)], rng, self.sampling) for k in times]
        raise DataError(f"{PATIENCE} photographs in a row are unusable at {self.library.mattes.shards[shard]}")

    def place(self, number: int) -> tuple[int, int]:
        """Shard and photograph of a sample, counted from the beginning of the run.

        An epoch shuffles the shards; photographs are shuffled among the few shards that are open at one time.
        """
        counts = np.array(self.library.photographs)
        epoch, position = divmod(number, int(counts.sum()))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(counts))
        for start in range(0, len(order), SHARDS_AT_ONCE):
            group = order[start : start + SHARDS_AT_ONCE]
            size = int(counts[group].sum())
            if position < size:
                break
            position -= size
        drawn = int(np.random.default_rng((self.seed, epoch, start, 1)).permutation(size)[position])
        ends = list(accumulate(int(c) for c in counts[group]))
        within = next(k for k, end in enumerate(ends) if drawn < end)
        return int(group[within]), drawn - (ends[within - 1] if within else 0)

    def _scene(self, matted: MattedImage, rng: np.random.Generator) -> Scene | None:
        height, width = matted.image.shape[:2]
        window = (0.0, 0.0, float(width), float(height))
        if rng.random() < self.zoomed:
            window = _round_matte(matted.alphas[0], rng)
        size = frame_size((int(window[3] - window[1] + 0.5), int(window[2] - window[0] + 0.5)), self.frame_px)
        flip = rng.random() < 0.5
        alphas = [_cut(a, window, size, flip).clip(0, 1) for a in matted.alphas]
        alphas = [a for a in alphas if (a > 0.5).sum() >= MIN_OBJECT_PX]
        return Scene(_cut(matted.image, window, size, flip), alphas, edge=1.0) if alphas else None


def _round_matte(alpha: Float32[np.ndarray, "h w"], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A window round a matte, X1 Y1 X2 Y2 [px], with room on each side."""
    rows, columns = window_of(alpha > 0)
    longest = max(columns.stop - columns.start, rows.stop - rows.start) - 1
    room = rng.uniform(0.05, 0.6, 4) * max(8, longest)
    x1, y1 = max(0.0, columns.start - room[0]), max(0.0, rows.start - room[1])
    x2, y2 = min(alpha.shape[1], columns.stop + room[2]), min(alpha.shape[0], rows.stop + room[3])
    return x1, y1, x2, y2


def _cut(
    array: UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w"],
    window: tuple[float, float, float, float],
    size: tuple[int, int],
    flip: bool,
) -> UInt8[np.ndarray, "s t 3"] | Float32[np.ndarray, "s t"]:
    """A window of an image or matte at another size (H, W), mirrored or not."""
    image = Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=window)
    return np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image)
