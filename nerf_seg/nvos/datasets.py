"""Tasks of NVOS, SPIn-NeRF and LERF-Mask: scene, object, prompt, and the place of the truth."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import Bool

from zim_plugins.core import ImageError, ZimError
from zim_plugins.core import read_mask as read_opacity

from ..field.gaussians.camera_files import read_cameras
from ..field.gaussians.colmap import find_model
from ..field.poses_bounds import list_images

NVOS_VIEWS = {
    "fern": ("IMG_4027", "IMG_4038"),
    "flower": ("IMG_2962", "IMG_2983"),
    "fortress": ("IMG_1800", "IMG_1821"),
    "horns_center": ("DJI_20200223_163024_597", "DJI_20200223_163055_437"),
    "horns_left": ("DJI_20200223_163024_597", "DJI_20200223_163055_437"),
    "leaves": ("IMG_2997", "IMG_3011"),
    "orchids": ("IMG_4480", "IMG_4479"),
    "trex": ("DJI_20200223_163619_411", "DJI_20200223_163607_906"),
}
"""The eight tasks of NVOS (Ren et al. 2022): the view with the true mask, and the view with the scribbles."""
NVOS_LABELS = "https://jason718.github.io/nvos"
"""Where NVOS's labels are had; they may not be passed on here."""
NVOS_PLACES = (".", "labels/llff", "llff_masks", "labels/llff_masks")
"""Where the tree of labels lies below the root."""
DATASETS = ("nvos", "spin", "lerf-mask")


class LabelError(ZimError):
    """Labels are missing, damaged or do not fit their image."""


@dataclass(frozen=True)
class Target:
    """A view whose mask is known."""

    view: str
    """The image's file name without suffix, as the labels have it."""
    mask: Path


@dataclass(frozen=True)
class Scribbles:
    """Strokes on the reference view, as images that are not black where something is drawn."""

    positive: tuple[Path, ...]
    negative: tuple[Path, ...]


@dataclass(frozen=True)
class Task:
    """One object of one scene."""

    name: str
    capture: str
    """The scene's images; two tasks may share them."""
    reference: str
    """The view of the prompt, as `Target.view`."""
    prompt: Scribbles | Path
    """Scribbles, or the mask file that is the prompt."""
    targets: tuple[Target, ...]
    """What is scored."""

    def files(self) -> tuple[Path, ...]:
        """All label files of the task."""
        drawn = (*self.prompt.positive, *self.prompt.negative) if isinstance(self.prompt, Scribbles) else (self.prompt,)
        return (*drawn, *(target.mask for target in self.targets))


def read_tasks(dataset: str, root: Path, names: Iterable[str] = ()) -> tuple[list[Task], dict[str, str]]:
    """Find the tasks of a data set.

    Args:
        dataset: one of `DATASETS`.
        names: tasks wanted; none means all.

    Returns:
        The tasks, and by name what is wrong with those that cannot be used.

    Raises:
        LabelError: the folder is no such data set, or holds no task of a name.
    """
    found = {"nvos": _nvos, "spin": _spin, "lerf-mask": _lerf_mask}[dataset](root)
    wanted = list(names) or list(found)
    if unknown := [name for name in wanted if name not in found]:
        raise LabelError(f"{root} holds no {', '.join(unknown)}; there are {', '.join(found)}")
    chosen = {name: found[name] for name in wanted}
    tasks = [task for task in chosen.values() if isinstance(task, Task)]
    return tasks, {name: task for name, task in chosen.items() if isinstance(task, str)}


def read_mask(path: Path) -> Bool[np.ndarray, "h w"]:
    """A mask file, true above the middle of black and white; values of 0 and 1 are a mask, too.

    Raises:
        LabelError: it cannot be read, or shows no object.
    """
    try:
        mask = read_opacity(path).alpha > 0.5
    except ImageError as error:
        raise LabelError(str(error)) from error
    if not mask.any():
        raise LabelError(f"{path} is empty: there is no object to score")
    return mask


def read_drawn(path: Path) -> Bool[np.ndarray, "h w"]:
    """Pixels of a scribble image that are not black (SA3D's load_nvos sums the channels), transparency aside.

    Raises:
        LabelError: it cannot be read.
    """
    return (np.asarray(_open(path).convert("RGB")) > 0).max(axis=2)


def _open(path: Path) -> PIL.Image.Image:
    try:
        with PIL.Image.open(path) as image:
            image.load()
            return image
    except (OSError, ValueError, SyntaxError) as error:
        raise LabelError(f"{path} cannot be read as an image: {error}") from error


def _nvos(root: Path) -> dict[str, Task | str]:
    labels = next((root / p for p in NVOS_PLACES if all((root / p / n).is_dir() for n in ("masks", "scribbles"))), None)
    if labels is None:
        places = ", ".join(NVOS_PLACES)
        raise LabelError(f"{root} holds no masks/ and scribbles/ (looked in {places}); labels are had at {NVOS_LABELS}")
    return {name: _nvos_task(labels, name) for name in NVOS_VIEWS}


def _nvos_task(labels: Path, name: str) -> Task | str:
    target, reference = NVOS_VIEWS[name]
    mask = labels / "masks" / name / f"{target}_mask.png"
    place = labels / "scribbles" / name
    positive, negative = (tuple(sorted(place.glob(f"{kind}_*.png"))) for kind in ("pos", "neg"))
    if not mask.is_file():
        return f"{mask} is missing: the truth of {name}"
    if not positive or not negative:
        return f"{place} holds no {'neg' if positive else 'pos'}_*.png: the scribbles of {name}"
    capture = name.partition("_")[0]  # horns_center and horns_left are one capture
    return Task(name, capture, reference, Scribbles(positive, negative), (Target(target, mask),))


def _spin(root: Path) -> dict[str, Task | str]:
    """A folder of masks for each scene: the first view's is the prompt, all are scored, as SA3D does."""
    tasks: dict[str, Task | str] = {}
    for place in sorted(path for path in root.iterdir() if path.is_dir()):
        masks = sorted(p for p in place.glob("*.png") if "cutout" not in p.name and "pseudo" not in p.name)
        if not masks:
            continue
        targets = tuple(Target(path.stem, path) for path in masks)
        tasks[place.name] = Task(place.name, place.name, targets[0].view, targets[0].mask, targets)
    if not tasks:
        raise LabelError(f"{root} holds no folders of masks (SCENE/*.png), as SPIn-NeRF's labels are laid out")
    return tasks


def _lerf_mask(root: Path) -> dict[str, Task | str]:
    """SCENE/test_mask/VIEW/TEXT.png: the first view that shows an object is the prompt, the others are scored.

    LERF-Mask's own protocol prompts with the text; a mask is another prompt, and the numbers do not compare. Its views
    are numbers: the place among the test views, which are those of SCENE/images that are not in SCENE/images_train.
    """
    tasks: dict[str, Task | str] = {}
    for place in sorted(root.glob("*/test_mask")):
        scene = place.parent.name
        found: dict[str, list[Target]] = {}
        views = {folder.name: folder.name for folder in place.iterdir() if folder.is_dir()}
        try:
            views |= _numbered_views(place.parent, [name for name in views if name.isdecimal()])
        except (ZimError, OSError, ValueError) as error:
            tasks[scene] = " ".join(str(error).split())
            continue
        for mask in sorted(place.glob("*/*.png"), key=lambda path: (views[path.parent.name], path.name)):
            found.setdefault(mask.stem, []).append(Target(views[mask.parent.name], mask))
        for text, targets in sorted(found.items()):
            name = f"{scene}/{text}"
            if len(targets) < 2:
                tasks[name] = f"{targets[0].mask} is the only mask of its object: it would be prompt and truth"
            else:
                tasks[name] = Task(name, scene, targets[0].view, targets[0].mask, tuple(targets[1:]))
    if not tasks:
        raise LabelError(f"{root} holds no SCENE/test_mask/VIEW/TEXT.png, as LERF-Mask is laid out")
    return tasks


def _numbered_views(scene: Path, numbers: list[str]) -> dict[str, str]:
    """Return the stems of the test views that numbers mean; a number that is a view's own name is left out.

    Raises:
        LabelError: what tells the test views is missing, or there are fewer.
    """
    model = find_model(scene)
    if model is not None:
        images = [Path(camera.name).stem for camera in read_cameras(model)]
    else:
        images = [path.stem for path in list_images(scene / "images")] if (scene / "images").is_dir() else []
    unknown = [number for number in numbers if number not in images]
    if not unknown:
        return {}
    if not images or not (scene / "images_train").is_dir():
        raise LabelError(
            f"{scene}/test_mask/{unknown[0]} is the number of a test view, and {scene}/images and images_train tell "
            "which: they are not there"
        )
    trained = {path.stem for path in list_images(scene / "images_train")}
    held_out = [stem for stem in sorted(images) if stem not in trained]
    if beyond := [number for number in unknown if int(number) >= len(held_out)]:
        raise LabelError(
            f"{scene}/test_mask/{beyond[0]} is the number of a test view, and there are {len(held_out)} "
            f"({', '.join(held_out[:3])}): images that are not in images_train"
        )
    return {number: held_out[int(number)] for number in unknown}
