"""Cases from plain folders: `image/`, `mask/` and, where it is known, `clean/`, paired by the files' stems."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from zim_plugins.core import ImageError, expand_inputs, read_alpha, read_image

from .cases import Case, Listed

IMAGES, MASKS, CLEANS = ("image", "images"), ("mask", "masks", "alpha"), ("clean", "gt", "background")
"""Names of the folders; the first that is there is taken."""

Tell = Callable[[str, str, str], None]
"""Told of a fault: its kind, where it is, and what is wrong."""


def list_folders(root: Path, tell: Tell) -> list[Listed]:
    """List the cases of a folder; a mask is a mask or a matte, a clean image is optional for each.

    Args:
        root: holds `image/` and `mask/`, perhaps `clean/` (also called `gt/` or `background/`).
        tell: is told of images without mask and of masks or clean images without image.

    Raises:
        ImageError: there is no folder of images or of masks, or one is empty.
    """
    images, masks = _by_stem(root, IMAGES), _by_stem(root, MASKS)
    cleans = _by_stem(root, CLEANS) if any((root / name).is_dir() for name in CLEANS) else {}
    for stem in sorted(images.keys() - masks.keys()):
        tell("unpaired", images[stem], "it has no mask")
    for found, what in ((masks, "mask"), (cleans, "clean image")):
        for stem in sorted(found.keys() - images.keys()):
            tell("unpaired", found[stem], f"this {what} has no image")
    listed = []
    for stem in sorted(images.keys() & masks.keys()):
        files = (images[stem], masks[stem], *([cleans[stem]] if stem in cleans else []))
        listed.append(Listed(stem, files, partial(_read, *files)))
    return listed


def _read(image: str, mask: str, clean: str | None = None) -> Case:
    rgb, alpha = read_image(image).rgb, read_alpha(mask)
    if alpha.shape != rgb.shape[:2]:
        raise ValueError(f"{mask} is {alpha.shape}, its image {rgb.shape[:2]} (height, width)")
    truth = None if clean is None else read_image(clean).rgb
    if truth is not None and truth.shape != rgb.shape:
        raise ValueError(f"{clean} is {truth.shape[:2]}, its image {rgb.shape[:2]} (height, width)")
    return Case(rgb, alpha, truth)


def _by_stem(root: Path, names: tuple[str, ...]) -> dict[str, str]:
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        raise ImageError(f"{root} holds no folder {names[0]}/ (or {', '.join(names[1:])})")
    return {Path(source).stem: source for source in expand_inputs([folder])}
