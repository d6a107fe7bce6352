"""Checkpoints by name: what they are, where they lie on this machine, how they are fetched."""

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from zim_plugins.core.checkpoints.cache import check_file, download, is_offline
from zim_plugins.core.transforms import PIXEL_MEAN, PIXEL_STD
from zim_plugins.errors import CheckpointError

logger = logging.getLogger(__name__)

SHA256_DIGITS = 64
AUTO_ORDER = ("zim_vit_l", "zim_vit_b", "zim_tiny")
"""What "auto" takes, best first; SAM is a baseline and never taken unasked."""


@dataclass(frozen=True)
class CheckpointFile:
    """One file of a checkpoint, as its publisher offers it."""

    name: str
    """File name in the checkpoint's folder."""
    url: str
    """Where it is fetched; `{hf}` stands for the Hugging Face address (HF_ENDPOINT, or huggingface.co)."""
    size_bytes: int
    """Exact size."""
    sha256: str
    """Digest in hexadecimal digits; only its beginning where no more of it is known to us."""

    @property
    def address(self) -> str:
        """The address with mirrors applied."""
        return self.url.replace("{hf}", os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/"))

    @property
    def is_pinned(self) -> bool:
        """Return whether the whole sha256 is known, not just its beginning and the exact size."""
        return len(self.sha256) == SHA256_DIGITS

    def check(self, path: Path) -> None:
        """Compare size and digest. Raises: CheckpointError where `path` is another file."""
        check_file(path, size_bytes=self.size_bytes, digests={"sha256": self.sha256})


@dataclass(frozen=True)
class Checkpoint:
    """All that is known of one set of weights."""

    name: str
    """What `load_predictor` and `zim models` call it."""
    architecture: Literal["tiny", "vit_b", "vit_l", "vit_h"]
    """The image encoder."""
    kind: Literal["zim_safetensors", "zim_onnx", "sam_pth"]
    """What the files hold: our own weights, ZIM's official ONNX pair, SAM's official weights."""
    files: tuple[CheckpointFile, ...]
    """What is fetched; empty for a checkpoint that comes with this package."""
    licence: str
    """The weights' licence, shown before they are fetched."""
    source: str
    """Page of the publisher."""
    frame_px: int | None
    """Side of the model's square frame [px]; None: written in the file."""
    pixel_mean: tuple[float, float, float] = PIXEL_MEAN
    """Subtracted from RGB in [0, 255]."""
    pixel_std: tuple[float, float, float] = PIXEL_STD
    """Then divided by."""
    huggingface: tuple[str, str] | None = None
    """Repository and folder on Hugging Face, whose cache is honoured."""

    @property
    def is_shipped(self) -> bool:
        """Return whether it comes inside this package."""
        return not self.files

    @property
    def size_bytes(self) -> int:
        """Return the size of what is fetched."""
        return sum(file.size_bytes for file in self.files)

    @property
    def command(self) -> str:
        """The command that brings it to this machine."""
        return f"zim models --download {self.name}"


def _zim(
    name: str,
    architecture: Literal["vit_b", "vit_l"],
    repo: str,
    folder: str,
    *,
    encoder: tuple[int, str],
    decoder: tuple[int, str],
) -> Checkpoint:
    base = f"{{hf}}/{repo}/resolve/main/{folder}"
    return Checkpoint(
        name=name,
        architecture=architecture,
        kind="zim_onnx",
        files=(
            CheckpointFile("encoder.onnx", f"{base}/encoder.onnx", *encoder),
            CheckpointFile("decoder.onnx", f"{base}/decoder.onnx", *decoder),
        ),
        licence="ZIM, NAVER Cloud: CC BY-NC 4.0 in its repository (naver-ai/ZIM), CC BY 4.0 on its Hugging Face card; "
        "until the authors say which, take it as non-commercial",
        source=f"https://huggingface.co/{repo}",
        frame_px=1024,
        huggingface=(repo, folder),
    )


def _sam(architecture: Literal["vit_b", "vit_l", "vit_h"], md5_start: str, size_bytes: int, sha256: str) -> Checkpoint:
    file_name = f"sam_{architecture}_{md5_start}.pth"
    return Checkpoint(
        name=f"sam_{architecture}",
        architecture=architecture,
        kind="sam_pth",
        files=(
            CheckpointFile(
                file_name, f"https://dl.fbaipublicfiles.com/segment_anything/{file_name}", size_bytes, sha256
            ),
        ),
        licence="Segment Anything, Meta: Apache-2.0",
        source="https://github.com/facebookresearch/segment-anything",
        frame_px=1024,
    )


def _records() -> dict[str, Checkpoint]:
    records = [
        Checkpoint(
            name="zim_tiny",
            architecture="tiny",
            kind="zim_safetensors",
            files=(),
            licence="zim_tiny, this project: Apache-2.0",
            source="zim_plugins/core/weights",
            frame_px=None,
        ),
        # Of ViT-B's digests only the beginnings are known to us: with the exact size they exclude damage and
        # mix-ups, not a forger.
        _zim(
            "zim_vit_b",
            "vit_b",
            "naver-iv/zim-anything-vitb",
            "zim_vit_b_2043",
            encoder=(360_680_416, "6123ea10"),
            decoder=(19_330_176, "a99d14ba"),
        ),
        _zim(
            "zim_vit_l",
            "vit_l",
            "naver-iv/zim-anything-vitl",
            "zim_vit_l_2092",
            encoder=(1_235_692_110, "6b0360b3c32dfa11555fb1de27cd3533cec1e932204da0dec2b3772045dc7db3"),
            decoder=(19_330_176, "c24a42d79053d20594760ad9afdef9cca985f29493f3e1e0fe3462ca291b57f7"),
        ),
        # The six digits in SAM's file names begin the md5 of each file, not its sha256.
        _sam("vit_b", "01ec64", 375_042_383, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
        _sam("vit_l", "0b3195", 1_249_524_607, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
        _sam("vit_h", "4b8939", 2_564_550_879, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
    ]
    return {record.name: record for record in records}


CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType(_records())
"""Every checkpoint that is known by name."""


def checkpoint(name: str) -> Checkpoint:
    """The record of a checkpoint.

    Raises:
        ValueError: no checkpoint has this name.
    """
    if name not in CHECKPOINTS:
        raise ValueError(f"there is no checkpoint {name!r}; known are {', '.join(CHECKPOINTS)}")
    return CHECKPOINTS[name]


def cache_folder() -> Path:
    """Return the folder of checkpoints: ZIM_PLUGINS_HOME, else `zim-plugins` in the platform's cache folder."""
    home = os.environ.get("ZIM_PLUGINS_HOME")
    if home:
        return Path(home).expanduser()
    if sys.platform == "win32":
        caches = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        caches = str(Path.home() / "Library" / "Caches")
    else:
        caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(caches) / "zim-plugins"


def find(name: str) -> Path | None:
    """Return the path of a checkpoint on this machine, or None where it is missing or incomplete.

    Looked for in `cache_folder()`, in Hugging Face's cache and in torch's, by name and exact size; nothing is
    fetched, and digests are left to `verify`.

    Returns:
        The weights file, or the folder of an ONNX pair.
    """
    record = checkpoint(name)
    if record.is_shipped:
        path = Path(__file__).parents[1] / "weights" / f"{name}.safetensors"
        return path if path.is_file() else None
    for folder in _folders(record):
        if all(_has_size(folder / file.name, file.size_bytes) for file in record.files):
            return folder / record.files[0].name if record.kind == "sam_pth" else folder
    return None


def is_present(name: str) -> bool:
    """Return whether `find` finds it."""
    return find(name) is not None


def require(name: str) -> Path:
    """Return what `find` finds, or raise with the reason why not.

    Raises:
        CheckpointError: it is missing or damaged; the message holds the command that brings it.
    """
    path = find(name)
    if path is not None:
        return path
    record = checkpoint(name)
    if record.is_shipped:
        raise CheckpointError(f"{name} is not in this installation: install zim-plugins anew from its wheel")
    for file in record.files:
        present = cache_folder() / name / file.name
        if present.exists() and not _has_size(present, file.size_bytes):
            raise CheckpointError(
                f"{present} is damaged ({present.stat().st_size} bytes where {file.size_bytes} are expected): "
                f"fetch it anew with `{record.command}`"
            )
    raise CheckpointError(
        f"{name} ({record.size_bytes / 1e6:.0f} MB) is not on this machine: fetch it with `{record.command}`"
    )


def verify(name: str) -> Path:
    """`require`, and every file's digest compared.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = require(name)
    record = checkpoint(name)
    folder = path if path.is_dir() else path.parent
    for file in record.files:
        try:
            file.check(folder / file.name)
        except CheckpointError as error:
            raise CheckpointError(f"{error}: delete it, then fetch it anew with `{record.command}`") from None
    return path


def fetch(name: str, *, progress: bool = True) -> Path:
    """Bring a checkpoint to this machine; does nothing where it is present.

    An interrupted transfer is continued by the next call. The licence is logged before anything is fetched.

    Args:
        progress: draw a bar on stderr.

    Returns:
        What `find` returns.

    Raises:
        CheckpointError: the environment forbids the network, the transfer failed, or what came is not what its
            publisher offered.
    """
    path = find(name)
    if path is not None:
        return path
    record = checkpoint(name)
    if record.is_shipped:
        return require(name)
    if is_offline():
        raise CheckpointError(
            f"{name} is not on this machine and the network is switched off by the environment (HF_HUB_OFFLINE or "
            f"ZIM_PLUGINS_OFFLINE): unset it and run `{record.command}`, or put "
            f"{' and '.join(file.name for file in record.files)} into {cache_folder() / name}"
        )
    logger.warning("licence of %s: %s", name, record.licence)
    folder = cache_folder() / name
    for file in record.files:
        download(
            file.address,
            folder / file.name,
            size_bytes=file.size_bytes,
            digests={"sha256": file.sha256},
            progress=progress,
        )
        if not file.is_pinned:
            logger.warning(
                "%s of %s: checked by exact size and the first %d digits of its sha256, which is all that is known",
                file.name,
                name,
                len(file.sha256),
            )
    return require(name)


def _folders(record: Checkpoint) -> list[Path]:
    """Folders of this machine that may hold the files, our own first."""
    folders = [cache_folder() / record.name]
    if record.huggingface is not None:
        repo, subfolder = record.huggingface
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or caches / "huggingface") / "hub")
        folders += sorted(hub.glob(f"models--{repo.replace('/', '--')}/snapshots/*/{subfolder}"))
    if record.kind == "sam_pth":
        torch_home = os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch"
        folders.append(Path(torch_home) / "hub" / "checkpoints")
    return folders


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes
