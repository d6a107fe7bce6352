"""Lookup of the field of a capture, a NeRF or a splat, and of the view that a label means."""

import json
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zim_plugins.core import ZimError

from ..field.gaussians.scene import SplatPlace, files_below, find_splat
from ..field.poses_bounds import POSES_FILE, find_folder, list_images, read_poses_bounds
from .datasets import Task

STRICT = "strict"
PROTOCOLS = {
    "sa3d": "the scored views are among the NeRF's training views",
    STRICT: "the scored views are hidden from the NeRF and from the segmentation; what a splat was trained on is known "
    "from the train_filenames of a transforms.json only, else it is taken for what its folder's name says",
}
CAPTURE_PLACES = ("scenes", "nerf_llff_data", "nerf_llff_data_undistort", ".")
"""Where captures lie below a data set's root."""
_OWN_METHOD = "sa3d-zim"
"""Runs of this method are segmentations, not radiance fields."""
_SPLAT_METHODS = ("splatfacto", "splatfacto-big", "splatfacto-mcmc", "splatfacto-w")
"""Runs of these methods are splats, which are read as exported."""
_OF_DATASET = re.compile(
    r"[ _-]*\(?(llff|nerf[ _-]?supervision|tanks[ _&-]*(and)?[ _-]*temples|tandt)\)?$", re.IGNORECASE
)
"""Ends of SPIn-NeRF's folder names: the data set that a scene is taken from."""
CHOICES = ("auto", "nerf", "splat")
"""What a task's folder is asked for; auto takes what is there."""


class MissingNerf(ZimError):
    """A scene has no trained field, or one of the other protocol; the message holds the command that makes it."""


@dataclass(frozen=True)
class Found:
    """The trained field of a task: a nerfstudio run, or a scene of Gaussians."""

    config: Path | None = None
    """config.yml of the run."""
    splat: SplatPlace | None = None

    @property
    def path(self) -> Path:
        """Return the file that names it."""
        path = self.config if self.splat is None else self.splat.scene
        assert path is not None
        return path


def nerf_name(task: Task, protocol: str) -> str:
    """Folder of a task's NeRF: the capture's name, with the scored views' where they are held out."""
    return f"{task.capture}_strict" if protocol == STRICT else task.capture


def _field_folder(nerfs: Path, task: Task, protocol: str) -> Path:
    """NERFS/NAME, where that is not there the name without SPIn-NeRF's data set: fern for fern_llff."""
    folder = nerfs / nerf_name(task, protocol)
    short = nerfs / _OF_DATASET.sub("", folder.name)
    return short if short != nerfs and short.is_dir() and not folder.is_dir() else folder


def find_field(nerfs: Path, task: Task, protocol: str, capture: Path | None, choice: str = "auto") -> Found:
    """The field of a task below NERFS/NAME: a NeRF as `find_nerf` finds it, or a splat as `find_splat` does.

    Args:
        task: whose field is looked for.
        protocol: tells the folder's name.
        capture: folder of the capture, where it is known.
        choice: one of `CHOICES`.

    Raises:
        MissingNerf: there is none, or there are both and `choice` does not say which.
        ZimError: a splat has no cameras or photographs.
    """
    folder = _field_folder(nerfs, task, protocol)
    splat = None if choice == "nerf" else find_splat(folder, capture)
    if splat is None and choice == "splat":
        exported = _splat_runs(folder)
        how = _export_command(exported[-1], folder) if exported else "put it there"
        raise MissingNerf(f"{folder} holds no splat (.ply, .splat or .spz); {how}")
    if splat is None:
        return Found(config=find_nerf(nerfs, task, protocol, capture))
    if choice == "auto" and _nerf_runs(folder):
        raise MissingNerf(f"{folder} holds both a NeRF and the splat {splat.scene}: give --field nerf or --field splat")
    return Found(splat=splat)


def find_nerf(nerfs: Path, task: Task, protocol: str, capture: Path | None) -> Path:
    """The newest config.yml below NERFS/NAME of a NeRF that has a checkpoint.

    Raises:
        MissingNerf: there is none.
    """
    folder = _field_folder(nerfs, task, protocol)
    found = _nerf_runs(folder)
    if not found:
        said = f"{folder} holds no config.yml of a NeRF with a checkpoint, and no splat"
        if exported := _splat_runs(folder):
            raise MissingNerf(f"{said}; {_export_command(exported[-1], folder)}")
        raise MissingNerf(f"{said}; {train_command(nerfs, task, protocol, capture)}")
    return max(found, key=lambda path: (path.stat().st_mtime, str(path)))


def _nerf_runs(folder: Path) -> list[Path]:
    others = {_OWN_METHOD, *_SPLAT_METHODS}
    runs = [
        path
        for path in files_below(folder)
        if path.name == "config.yml" and others.isdisjoint(path.relative_to(folder).parts)
    ]
    return [path for path in runs if any(one.suffix == ".ckpt" for one in files_below(path.parent))]


def _splat_runs(folder: Path) -> list[Path]:
    found = [path for path in files_below(folder) if path.name == "config.yml"]
    runs = (path for path in found if not set(_SPLAT_METHODS).isdisjoint(path.relative_to(folder).parts))
    return sorted(runs, key=lambda path: path.stat().st_mtime)


def _export_command(config: Path, folder: Path) -> str:
    words = ["ns-export", "gaussian-splat", "--load-config", str(config), "--output-dir", str(folder)]
    return f"export the splat that was trained: {shlex.join(words)}, with its dataparser_transforms.json beside it"


def train_command(nerfs: Path, task: Task, protocol: str, capture: Path | None) -> str:
    """The sentence that says how to train the NeRF of a task."""
    words = ["ns-train", "nerfacto", "--data", str(capture or "CAPTURE"), "--output-dir", str(nerfs)]
    words += ["--experiment-name", nerf_name(task, protocol), "--vis", "tensorboard"]
    words += ["--pipeline.model.distortion-loss-mult", "0", "--pipeline.model.camera-optimizer.mode", "off"]
    if capture is not None and not (capture / POSES_FILE).exists():
        hidden = f" and hold out {', '.join(target.view for target in task.targets)}" if protocol == STRICT else ""
        return f"train it on all views with the parser of its data{hidden}: {shlex.join(words)} PARSER"
    if protocol == STRICT:
        words += ["llff-data", "--eval-mode", "names", "--eval-names"]
        words += [target.view if capture is None else _file_of(target.view, capture) for target in task.targets]
    else:
        words += ["llff-data", "--eval-mode", "all"]
    return f"train it: {shlex.join(words)}"


def find_capture(places: Sequence[Path], name: str) -> Path | None:
    """The folder of a capture's images, where there is one."""
    names = dict.fromkeys((name, _OF_DATASET.sub("", name) or name))
    candidates = (place / folder for each in names for place in places for folder in (f"{each}_undistort", each))
    return next((path for path in candidates if any(path.glob("images*"))), None)


def match_view(label: str, names: Sequence[str], capture: Path | None, kind: str = "NeRF") -> str:
    """Return the field's image that a label means.

    The same name; or one that is part of the other, as SA3D matches; or the image of the same place in the order of
    file names, where a capture's down-scaled images are called image000, image001 and so on, or the label is.

    Args:
        label: the view's name in the labels.
        names: file names of all images of the field.
        capture: folder whose `images` or transforms.json tell the original names.
        kind: of the field, for the message.

    Raises:
        ZimError: no image or several fit.
    """
    stems = {Path(name).stem: name for name in names}
    if label in stems:
        return stems[label]
    parts = [name for stem, name in stems.items() if _is_word_of(label, stem) or _is_word_of(stem, label)]
    if len(parts) > 1:
        raise ZimError(f"{label} could be any of {', '.join(parts)}")
    if parts:
        return parts[0]
    ordered = sorted(names)
    for others in [] if capture is None else [original_names(capture), *_scaled_names(capture)]:
        if label in others and len(others) == len(ordered):
            return ordered[others.index(label)]
    raise ZimError(
        f"no view of the {kind} is called {label} ({ordered[0]} to {ordered[-1]})"
        + ("" if capture is None else f", and {capture} does not tell which it is")
    )


def original_names(capture: Path) -> list[str]:
    """Stems of a capture's original images by file name; empty where they are not told."""
    try:
        if (capture / "images").is_dir():
            return [path.stem for path in list_images(capture / "images")]
        frames = json.loads((capture / "transforms.json").read_text())["frames"]
        told = sorted((frame["file_path"], Path(frame["original_name"]).stem) for frame in frames)
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for _, name in told]


def _scaled_names(capture: Path) -> list[list[str]]:
    """Stems of a capture's down-scaled images by file name, one list for each folder images_N."""
    found = []
    for folder in sorted(capture.glob("images_*")):
        if folder.name.removeprefix("images_").isdecimal():
            with suppress(ValueError):  # none in it
                found.append([path.stem for path in list_images(folder)])
    return found


def _file_of(label: str, capture: Path) -> str:
    """The file name, without suffix, of a label's image in the folder that `llff-data` takes by itself."""
    try:
        folder = find_folder(capture, None, read_poses_bounds(capture / POSES_FILE).hwf[0])
        return Path(match_view(label, [path.name for path in list_images(folder)], capture)).stem
    except (ZimError, ValueError):
        return label


def _is_word_of(word: str, text: str) -> bool:
    """Return whether a name stands in another, not as part of a longer number."""
    return re.search(rf"(?<![0-9]){re.escape(word)}(?![0-9])", text) is not None
