"""Files that a run reads and writes: results are no inputs, and inputs are never overwritten."""

import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zim_plugins.cli.images import STDOUT
from zim_plugins.imaging import check_inputs_are_spared, is_image

from .arguments import CutoutArgs, FillArgs, RemoveArgs, ReplaceArgs, TaskArgs

if TYPE_CHECKING:
    from .orders import Order

logger = logging.getLogger(__name__)

OUTPUTS = {
    RemoveArgs: ("alpha", "hole", "removed"),
    FillArgs: ("alpha", "hole", "filled"),
    ReplaceArgs: ("alpha", "replaced"),
    CutoutArgs: ("alpha", "cutout"),
}
"""Kinds of files that a task writes; the last one is its result."""
KINDS = tuple(dict.fromkeys(kind for kinds in OUTPUTS.values() for kind in kinds))
MASK_WORDS = ("mask", "matte", "alpha")
"""What a mask's name may add to its image's, after an underscore or a hyphen."""
WRITTEN = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
"""Suffixes of results."""


@dataclass(frozen=True)
class Results:
    """Places and formats of the results of a run."""

    kinds: tuple[str, ...]
    """The last one is the result itself."""
    folder: Path | None
    """None for standard output."""
    name: str | None = None
    """The result's own file name, where it was named; its companions lie beside it."""
    suffixes: Mapping[str, str] = field(default_factory=dict)
    """The result's suffix by source; a source without one has PNG, and TIFF where PNG cannot hold the pixels."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """The source of each name."""

    @staticmethod
    def of(args: TaskArgs, sources: Sequence[str], names: Sequence[str]) -> "Results":
        """Results of these arguments.

        Raises:
            ValueError: one file is named for several images, or its format cannot be written.
        """
        kinds = OUTPUTS[type(args)]
        by_name = dict(zip(names, sources, strict=True))
        suffixes = _suffixes(args.format, sources)
        if args.out == STDOUT or not is_file_name(args.out):
            return Results(kinds, None if args.out == STDOUT else Path(args.out), None, suffixes, by_name)
        path = Path(args.out)
        if len(sources) > 1:
            raise ValueError(f"--out {args.out} is one file, and there are {len(sources)} images: name a folder")
        if path.suffix.lower() not in WRITTEN:
            raise ValueError(f"--out {args.out}: results are written as {', '.join(WRITTEN)}")
        if args.format != "auto" and f".{args.format}" != path.suffix.lower().replace("jpeg", "jpg").replace("ff", "f"):
            raise ValueError(f"--out {args.out} names a format of its own: leave out --format {args.format}")
        return Results(kinds, path.parent, path.name, dict.fromkeys(sources, path.suffix), by_name)

    def suffix(self, source: str) -> str:
        """Suffix of a source's result; empty where its pixels decide."""
        return self.suffixes.get(source, "")

    def place(self, name: str) -> Path:
        """Return what the paths of a name's results begin with."""
        return (self.folder or Path()) / (name if self.name is None else Path(self.name).stem)

    def files(self, name: str) -> dict[str, Path]:
        """The files of a name by kind; where pixels decide, the result is an earlier run's TIFF if there is one."""
        if self.folder is None:
            return {}
        *others, last = self.kinds
        place, suffix = self.place(name), self.suffix(self.sources[name])
        files = {kind: place.with_name(f"{place.name}_{kind}.png") for kind in others}
        if self.name is not None:
            return files | {last: self.folder / self.name}
        path = place.with_name(f"{place.name}_{last}{suffix or '.png'}")
        tiff = path.with_suffix(".tif")
        return files | {last: tiff if not suffix and tiff.exists() and not path.exists() else path}

    def all_files(self, name: str) -> list[Path]:
        """Every file that may be written."""
        files = list(self.files(name).values())
        if files and not self.suffix(self.sources[name]):
            files += [files[-1].with_suffix(suffix) for suffix in (".png", ".tif")]
        return files


def is_file_name(out: str) -> bool:
    """Return whether `--out` names an image's file, not a folder: by its suffix, unless a folder is called so."""
    return is_image(out) and not Path(out).is_dir()


def _suffixes(chosen: str, sources: Sequence[str]) -> dict[str, str]:
    if chosen in ("auto", "same"):
        own = {source: Path(source).suffix.lower() for source in sources}
        return {source: suffix for source, suffix in own.items() if suffix in WRITTEN and chosen == "same"}
    return dict.fromkeys(sources, f".{chosen}")


def leave_out(args: TaskArgs, sources: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Drop from what folders and patterns hold the masks and the background of this run, and unrecorded results.

    A result without a record is `<stem>_<kind>`, in the output folder or beside an image that is called `<stem>`. What
    is left out is counted in the log; a file that is named by itself is always taken.

    Raises:
        ValueError: nothing is left.
    """
    gathered = [source for source in sources if source not in args.images and Path(source).is_file()]
    stems = {(Path(one).parent.resolve(), _key(Path(one).stem)) for one in gathered}
    anywhere = {stem for _, stem in stems}
    out = (
        None if args.out == STDOUT else (Path(args.out).parent if is_file_name(args.out) else Path(args.out)).resolve()
    )
    own = {Path(mask).resolve() for mask in [*args.mask, getattr(args, "background", None)] if mask is not None}

    def is_input(path: Path) -> bool:
        folder, words = path.parent.resolve(), [f"_{kind}" for kind in KINDS]
        if path.resolve() in own or any(above in own for above in path.resolve().parents if above not in given):
            return False
        if folder in own:
            words += [f"{sign}{word}" for word in MASK_WORDS for sign in "_-"]
        for word in words:
            base = _key(path.stem.removesuffix(word))
            if path.stem.endswith(word) and ((folder, base) in stems or (folder == out and base in anywhere)):
                return False
        return True

    given = {Path(one).resolve() for one in args.images if Path(one).is_dir()}
    given |= {above for one in given for above in one.parents}
    dropped = [source for source in gathered if not is_input(Path(source))]
    kept = [(source, name) for source, name in zip(sources, names, strict=True) if source not in dropped]
    if not kept:
        raise ValueError(f"{', '.join(args.images)}: no image besides masks and results of earlier runs")
    if dropped:
        shown = ", ".join(Path(one).name for one in dropped[:3]) + (", ..." if len(dropped) > 3 else "")
        logger.info("%d left out, masks of this run or results of earlier ones: %s", len(dropped), shown)
    return [source for source, _ in kept], [name for _, name in kept]


def masks_for(masks: Sequence[str], sources: Sequence[str]) -> dict[str, tuple[tuple[str, ...], str]]:
    """The mask files of each source, and what is missing, in words: a file serves all, a folder by the images' names.

    In a folder the mask of `a.jpg` is `a.*`, `a.jpg.*`, or `a_mask.*`, `a_matte.*`, `a_alpha.*`; where images lie in
    several folders, masks may lie in equal ones.

    Raises:
        ValueError: a folder holds a mask for none of the images, or a file does not exist.
    """
    from zim_plugins.core import mask_path

    found: dict[str, tuple[tuple[str, ...], str]] = {source: ((), "") for source in sources}
    parents = {source: Path(source).parent.resolve() for source in sources}
    used = {Path(source).resolve() for source in sources}
    for mask in masks:
        if not Path(mask).is_dir():
            if not Path(mask_path(mask)).exists():
                raise ValueError(f"there is no mask {mask_path(mask)}")
            found = {source: ((*files, mask), missing) for source, (files, missing) in found.items()}
            continue
        matched = 0
        for source, (files, missing) in found.items():
            name, fault = _mask_in(Path(mask), source, parents, used)
            matched += name is not None
            found[source] = (files if name is None else (*files, name), missing or fault)
        if not matched:
            raise ValueError(f"the folder {mask} holds a mask for none of the {len(sources)} images: {fault}")
    return found


def _mask_in(folder: Path, source: str, parents: dict[str, Path], used: set[Path]) -> tuple[str | None, str]:
    """The mask of a source in a folder, or what is wrong."""
    common = os.path.commonpath([str(parent) for parent in parents.values()])
    inside = folder / parents[source].relative_to(common)
    where = inside if inside.is_dir() else folder
    files = [
        path for path in sorted(where.iterdir()) if is_image(path) and path.is_file() and path.resolve() not in used
    ]
    stem, name = Path(source).stem, Path(source).name
    for wanted in ([stem], [name], [f"{stem}{sign}{word}" for word in MASK_WORDS for sign in "_-"]):
        keys = {_key(one) for one in wanted}
        fitting = [path for path in files if _key(path.stem) in keys]
        if len(fitting) == 1:
            return str(fitting[0]), ""
        if fitting:
            return None, f"{where} holds several masks for it: {', '.join(path.name for path in fitting)}"
    return None, f"{where} holds no mask for it ({stem}.* or {stem}_mask.*)"


def spare_inputs(results: Results, args: TaskArgs, orders: "Mapping[str, Order]") -> None:
    """Raise ValueError where a result would be written over a file that is read: an image, a mask, a list."""
    from zim_plugins.core import mask_path

    named = [*orders, args.list, args.objects]
    for order in orders.values():
        named += [*(mask_path(mask) for mask in order.masks), order.background]
    inputs = [name for name in dict.fromkeys(named) if name is not None]
    check_inputs_are_spared(inputs, [path for name in results.sources for path in results.all_files(name)])


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
