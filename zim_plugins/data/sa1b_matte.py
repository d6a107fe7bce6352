"""SA1B-Matte read back: a torch dataset of photographs with all their mattes, and prompts for them."""

import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed
from jaxtyping import Float32, UInt8
from torch.utils.data import IterableDataset, get_worker_info

from zim_plugins.core.prompt import Prompt
from zim_plugins.data.conversion.shard_job import read_manifest
from zim_plugins.data.faults import DataError, Fault, Report, log_fault
from zim_plugins.data.readers.sa1b import IMAGE_SUFFIXES, Member, find_shards, read_member, scan_shard
from zim_plugins.data.rle import Rle
from zim_plugins.data.sample import Sample
from zim_plugins.errors import ImageError
from zim_plugins.imaging.image import read_alpha

DrawPrompt = Callable[[Float32[np.ndarray, "h w"], np.random.Generator], Prompt]
"""Draws a prompt for a matte."""


@dataclass(frozen=True, eq=False)
class MattedImage:
    """A photograph with the mattes of its segments, and a prompt for each."""

    key: str
    """sa_N."""
    image: UInt8[np.ndarray, "h w 3"]
    """sRGB."""
    alphas: Float32[np.ndarray, "n h w"]
    """Mattes in [0, 1]."""
    prompts: tuple[Prompt, ...]
    """One for each matte."""
    ids: tuple[int, ...]
    """Annotation ids."""


@dataclass(frozen=True, eq=False)
class OpenShard:
    """Places of the photographs and mattes of one shard."""

    path: Path
    keys: tuple[str, ...]
    """sa_N of each photograph that has mattes, in order of name."""
    members: dict[str, Member]
    """By file name."""


def done_shards(folder: Path) -> list[Path]:
    """Shards of mattes whose manifest says that they are whole, in order of name.

    Raises:
        DataError: there is none, or one is shorter or longer than its manifest says.
    """
    tars = []
    for path in sorted(folder.glob("*.done.json")):
        manifest = read_manifest(path)
        tar = folder / manifest["output"]["name"]
        if not tar.is_file() or tar.stat().st_size != manifest["output"]["bytes"]:
            raise DataError(f"{tar} is not what {path.name} says: delete both and convert again")
        tars.append(tar)
    if not tars:
        raise DataError(f"{folder} holds no shard of mattes that is done (SHARD.tar with SHARD.done.json)")
    return tars


class MatteShards(IterableDataset[MattedImage]):
    """Photographs of all shards, each once an epoch: shards and photographs are shuffled by seed and epoch.

    Shards are divided among the processes of torch.distributed and the workers of a DataLoader; where these are more
    than there are shards, each reads its share of every shard.

    Args:
        folder: shards of mattes, as `convert_dataset` writes them.
        source: the SA-1B shards they were made from, for the photographs; not needed where these were copied.
        draw_prompt: draws a prompt for each matte; None takes the box and the click that SA-1B stores.
        masks_per_image: mattes of one photograph at most, drawn at random.
        shuffle: whether the order changes.
        endless: begin the next epoch where one ends, so that no process of several runs dry before the others.
        seed: of order, choice and prompts.
        report: is told of what is damaged.
    """

    def __init__(
        self,
        folder: Path,
        source: Path | None = None,
        *,
        draw_prompt: DrawPrompt | None = None,
        masks_per_image: int | None = None,
        shuffle: bool = True,
        endless: bool = False,
        seed: int = 0,
        report: Report = log_fault,
    ) -> None:
        self.shards = done_shards(folder)
        self.sources = {} if source is None else {p.stem if p.is_file() else p.name: p for p in find_shards(source)}
        self.draw_prompt = draw_prompt
        self.masks_per_image = masks_per_image
        self.shuffle = shuffle
        self.endless = endless
        self.seed = seed
        self.report = report
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; to be called before the DataLoader starts its workers."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[MattedImage]:
        rank, world = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        worker = get_worker_info()
        if worker is not None:
            rank, world = rank * worker.num_workers + worker.id, world * worker.num_workers
        epoch, found = self.epoch, True
        while found:
            found = False
            for matted in self._read_epoch(epoch, rank, world):
                found = self.endless
                yield matted
            epoch += 1

    def _read_epoch(self, epoch: int, rank: int, world: int) -> Iterator[MattedImage]:
        shards = list(self.shards)
        if self.shuffle:
            random.Random(f"{self.seed}-{epoch}").shuffle(shards)
        whole = len(shards) >= world
        for shard in shards[rank::world] if whole else shards:
            yield from self._read_shard(shard, epoch, slice(None) if whole else slice(rank, None, world))

    def _read_shard(self, shard: Path, epoch: int, share: slice) -> Iterator[MattedImage]:
        opened = self.open_shard(shard)
        keys = list(opened.keys)
        if self.shuffle:
            random.Random(f"{self.seed}-{epoch}-{shard.stem}").shuffle(keys)
        for key in keys[share]:
            matted = self.read(opened, key, np.random.default_rng([self.seed, epoch, *key.encode()]))
            if matted is not None:
                yield matted

    def open_shard(self, shard: Path) -> OpenShard:
        """Find the photographs and mattes of a shard; none is read yet.

        Raises:
            DataError: there are no photographs, neither beside the mattes nor in the source.
        """
        members = scan_shard(shard, self.report)
        if shard.stem in self.sources:
            images = scan_shard(self.sources[shard.stem], self.report)
            members |= {name: at for name, at in images.items() if name.endswith(IMAGE_SUFFIXES)}
        keys = tuple(sorted(name.removesuffix(".json") for name in members if name.endswith(".json")))
        if not all(any(key + suffix in members for suffix in IMAGE_SUFFIXES) for key in keys):
            raise DataError(f"{shard} holds no photographs: name the SA-1B shards it was made from as source")
        return OpenShard(shard, keys, members)

    def read(self, opened: OpenShard, key: str, rng: np.random.Generator) -> MattedImage | None:
        """One photograph of a shard; None where it is damaged, which is reported, or has no matte above one half."""
        image_name = next(key + suffix for suffix in IMAGE_SUFFIXES if key + suffix in opened.members)
        try:
            return self._read_image(key, image_name, opened.members, rng)
        except (ImageError, DataError, OSError, ValueError, KeyError, TypeError) as error:
            self.report(Fault("broken sample", f"{opened.path}:{key}", str(error)))
            return None

    def _read_image(
        self, key: str, image_name: str, members: dict[str, Member], rng: np.random.Generator
    ) -> MattedImage | None:
        path, image_bytes = members[image_name]
        image = Sample(path, "sa1b-matte", "train", image_bytes=image_bytes).read_image()
        rows = json.loads(read_member(*members[f"{key}.json"]))["annotations"]
        if self.masks_per_image is not None and len(rows) > self.masks_per_image:
            chosen = rng.choice(len(rows), self.masks_per_image, replace=False)
            rows = [rows[k] for k in sorted(chosen)]
        alphas, prompts, ids = [], [], []
        for row in rows:
            alpha = self._alpha(row, image.shape[:2], members)
            if (alpha > 0.5).any():
                prompts.append(self.draw_prompt(alpha, rng) if self.draw_prompt else _stored_prompt(row))
                alphas.append(alpha)
                ids.append(row["id"])
        return MattedImage(key, image, np.stack(alphas), tuple(prompts), tuple(ids)) if alphas else None

    @staticmethod
    def _alpha(row: dict[str, Any], size: tuple[int, ...], members: dict[str, Member]) -> Float32[np.ndarray, "h w"]:
        entry = row["matte"]
        if entry is None:
            return Rle.from_json(row["segmentation"]).decode().astype(np.float32)
        alpha = np.zeros(size, dtype=np.float32)
        crop = read_alpha(io.BytesIO(read_member(*members[entry["file"]])))
        rows = slice(entry["y"], entry["y"] + entry["height"])
        alpha[rows, entry["x"] : entry["x"] + entry["width"]] = crop
        return alpha


def _stored_prompt(row: dict[str, Any]) -> Prompt:
    """SA-1B's box, whose width and height are one less than the mask's, and its first click."""
    x, y, width, height = row["bbox"]
    box = np.array([x, y, x + width + 1, y + height + 1], dtype=np.float64)
    points = np.array(row.get("point_coords") or [], dtype=np.float64).reshape(-1, 2)[:1]
    if len(points) == 0:
        return Prompt(box=box)
    return Prompt(points=points, labels=np.ones(1, dtype=np.int64), box=box)
