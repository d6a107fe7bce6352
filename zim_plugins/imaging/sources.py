"""Sources of images: files, folders, globs, pages, samples, standard input; and the names of results.

A page of a file is written `scan.tif[2]`; pages and frames are counted from 0. A file whose own name ends that way
comes first.
"""

import glob
import importlib.util
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zim_plugins.errors import ImageError
from zim_plugins.imaging.formats import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from zim_plugins.imaging.formats import READ, UNREAD, is_image

SAMPLE_FILES = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "rocket": "rocket.jpg",
}
"""Photographs in scikit-image's wheel, readable as `sample:NAME` without a network."""
OWN_SAMPLE_FILES = {"dogs": "dogs.jpg"}
"""Photographs in this package, with their authors named beside them; readable as `sample:NAME` too."""
SAMPLE_PREFIX = "sample:"
STDIN = "-"
_PAGE = re.compile(r"(?P<path>.+)\[(?P<page>\d+)\]", re.DOTALL)
_NAMED = 5
"""How many of the files that a folder's search leaves out a message names."""


@dataclass(frozen=True)
class Inputs:
    """The single sources that a command line names, and what was left out."""

    sources: tuple[str, ...]
    """For `read_image`, without repeats."""
    roots: tuple[str, ...]
    """For each source the folder that it was searched in, or that it lies in; empty for no file."""
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Files that folders hold and that are not taken, by reason."""

    def notes(self) -> list[str]:
        """Return one line for each reason, with the number of files and the names of the first ones."""
        lines = []
        for reason, files in self.left_out.items():
            named = ", ".join(files[:_NAMED]) + (", ..." if len(files) > _NAMED else "")
            lines.append(f"{len(files)} left out, {reason}: {named}")
        return lines


def find_inputs(
    inputs: Sequence[str | Path],
    *,
    recursive: bool = True,
    own_results: "Callable[[Path], frozenset[Path]] | None" = None,
) -> Inputs:
    """Find what files, folders, globs, `sample:NAME` and `-` name.

    A folder gives its images, sorted by name, those of its subfolders after them. A file that does not exist is kept:
    reading it names the fault, and the others go on.

    Args:
        inputs: as the user gave them.
        recursive: search the folders below a folder too.
        own_results: tells which files of a folder are results of earlier runs; these are left out of folders and
            globs, and where one is named beside the image that it was made from.

    Raises:
        ImageError: a folder without images, or a pattern that matches nothing.
    """
    search = _Search(recursive, own_results or (lambda folder: frozenset()))
    for given in inputs:
        search.add(str(given))
    return search.found()


def expand_inputs(inputs: Sequence[str | Path]) -> list[str]:
    """Turn files, folders, globs, `sample:NAME` and `-` into single sources for `read_image`, without repeats.

    A folder gives the images directly in it; see `find_inputs`, which also says what was left out.

    >>> expand_inputs(["-", "sample:chelsea", "-"])
    ['-', 'sample:chelsea']

    Raises:
        ImageError: a folder without images, or a pattern that matches nothing.
    """
    return list(find_inputs(inputs, recursive=False).sources)


class _Search:
    """A search under way."""

    def __init__(self, recursive: bool, own_results: Callable[[Path], frozenset[Path]]) -> None:
        self.recursive = recursive
        self.own_results = own_results
        self.taken: dict[str, tuple[str, str]] = {}
        self.left_out: dict[str, list[str]] = {}

    def add(self, text: str) -> None:
        path = Path(text)
        if text == STDIN or text.startswith(SAMPLE_PREFIX):
            self._take(text, "")
        elif path.is_dir():
            self._add_folder(path)
        elif not os.path.lexists(text) and split_page(text)[1] is None and any(sign in text for sign in "*?["):
            found = sorted(p for p in glob.glob(os.path.expanduser(text), recursive=True) if Path(p).is_file())
            kept = [p for p in found if not self._is_own(Path(p))]
            if not kept:
                raise ImageError(f"no file matches {text}" + (" but results of earlier runs" if found else ""))
            root = _fixed_part(os.path.expanduser(text))
            for one in kept:
                self._take(one, root)
        else:
            self._take(text, str(path.parent))

    def found(self) -> Inputs:
        named = {_plain(Path(source)): source for source, _ in self.taken.values() if source != STDIN}
        sources, roots = [], []
        for source, root in self.taken.values():
            # A result of an image that is named too, as a shell's *.png may name both.
            path = Path(split_page(source)[0])
            if len(named) > 1 and not source.startswith(SAMPLE_PREFIX) and self._is_own(path):
                stems = {p.stem for p in named if p.parent == _plain(path).parent and p != _plain(path)}
                if any(path.stem.startswith(f"{stem}_") for stem in stems):
                    self._leave("results of earlier runs", source)
                    continue
            sources.append(source)
            roots.append(root)
        return Inputs(tuple(sources), tuple(roots), {k: tuple(v) for k, v in self.left_out.items()})

    def _add_folder(self, folder: Path) -> None:
        before, own = len(self.taken), len(self.left_out.get("results of earlier runs", ()))
        for path in self._walk(folder, self.own_results(folder.parent), set()):
            self._take(str(path), str(folder))
        if len(self.taken) == before:
            if len(self.left_out.get("results of earlier runs", ())) > own:
                raise ImageError(f"the folder {folder} holds only results of earlier runs: name those that you mean")
            below = "" if self.recursive else " directly in it"
            others = sum(map(len, self.left_out.values()))
            seen = f", only {others} other file{'s'[: others != 1]}" if others else ""
            raise ImageError(f"the folder {folder} holds no image{below}{seen} (read: {READ})")

    def _walk(self, folder: Path, own: frozenset[Path], seen: set[tuple[int, int]]) -> Iterator[Path]:
        """Images of a folder, then of the folders below; each folder once, also where links make a circle."""
        try:
            about = folder.stat()
            entries = sorted(folder.iterdir())
        except OSError as error:
            self._leave(f"cannot be searched ({error.strerror or error})", str(folder))
            return
        if (about.st_dev, about.st_ino) in seen:
            return
        seen.add((about.st_dev, about.st_ino))
        own |= self.own_results(folder)
        folders = []
        for path in entries:
            if path.name[0] == ".":
                if is_image(path):
                    self._leave("hidden", str(path))
            elif path.is_dir():
                folders.append(path)
            elif _plain(path) in own:
                self._leave("results of earlier runs", str(path))
            elif is_image(path) and path.is_file():
                yield path
            elif path.suffix.lower() in UNREAD:
                self._leave("images of formats that are not read here", str(path))
            else:
                self._leave("no images", str(path))
        for path in folders:
            if self.recursive:
                yield from self._walk(path, own, seen)
            else:
                self._leave("folders below a folder", str(path))

    def _is_own(self, path: Path) -> bool:
        plain = _plain(path)
        return plain in self.own_results(path.parent) or plain in self.own_results(path.parent.parent)

    def _take(self, source: str, root: str) -> None:
        key = source if source == STDIN or source.startswith(SAMPLE_PREFIX) else os.path.abspath(source)
        self.taken.setdefault(key, (source, root))

    def _leave(self, reason: str, path: str) -> None:
        self.left_out.setdefault(reason, []).append(path)


def split_page(source: str | Path) -> tuple[str, int | None]:
    """Divide `scan.tif[2]` into the file and the page, counted from 0; the page is None where none is named.

    >>> split_page("scan.tif[2]"), split_page("scan.tif")
    (('scan.tif', 2), ('scan.tif', None))
    """
    text = str(source)
    match = _PAGE.fullmatch(text)
    if match is None or os.path.lexists(text) or not is_image(match["path"]):
        return text, None
    return match["path"], int(match["page"])


def check_is_file(path: Path, name: str) -> None:
    """Raise ImageError for what is there and is no file: a folder, a pipe that would be waited for, a device."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # opening it names the fault
    if stat.S_ISDIR(mode):
        raise ImageError(f"{name} is a folder, not an image")
    if not stat.S_ISREG(mode):
        raise ImageError(f"{name} is a pipe or a device, not a file: read it through standard input, as - < {name}")


def output_names(sources: Sequence[str | Path], roots: Sequence[str] | None = None) -> list[str]:
    """Give each source of one run the name, relative to the output folder, that its results begin with.

    Names mirror the tree below the common root of the inputs: `a/x.jpg` and `b/x.jpg` give `a/x` and `b/x`. What would
    still have one name keeps its suffix (`x.jpg` beside `x.png`: `x_jpg`, `x_png`), and then a number; file systems
    that ignore case or the form of accents count as such.

    Args:
        sources: as `find_inputs` gives them.
        roots: folder that each was found in; by default the one that it lies in.

    >>> output_names(["a/x.jpg", "b/x.jpg", "b/y.png", "b/y.tif"])
    ['a/x', 'b/x', 'b/y_png', 'b/y_tif']
    """
    texts = [str(source) for source in sources]
    files = [split_page(text) for text in texts]
    is_file = [text != STDIN and not text.startswith(SAMPLE_PREFIX) for text in texts]
    folders = [
        os.path.abspath(root or os.path.dirname(path) or ".")
        for (path, _), root, wanted in zip(files, roots or [""] * len(texts), is_file, strict=True)
        if wanted
    ]
    try:
        common = os.path.commonpath(folders) if folders else ""
    except ValueError:  # several drives
        common = ""
    names = []
    for text, (path, page), wanted in zip(texts, files, is_file, strict=True):
        if not wanted:
            names.append(output_stem(text))
            continue
        parts = _parts_below(os.path.abspath(path), common)
        number = "" if page is None else f"_{page:04d}"
        names.append("/".join([*parts[:-1], Path(parts[-1]).stem + number]))
    suffixes = [Path(path).suffix[1:] if wanted else "sample" for (path, _), wanted in zip(files, is_file, strict=True)]
    shared = _shared(names)
    names = [f"{n}_{s}" if n in shared and s else n for n, s in zip(names, suffixes, strict=True)]
    return _numbered(names)


def _parts_below(path: str, common: str) -> list[str]:
    inside = bool(common) and os.path.normcase(path).startswith(os.path.normcase(common))
    relative = os.path.relpath(path, common) if inside else os.path.splitdrive(path)[1]
    return [part for part in Path(relative).parts if part not in (os.sep, "/", "..")]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _shared(names: Sequence[str]) -> set[str]:
    counts: dict[str, int] = {}
    for name in names:
        counts[_key(name)] = counts.get(_key(name), 0) + 1
    return {name for name in names if counts[_key(name)] > 1}


def _numbered(names: Sequence[str]) -> list[str]:
    """Number what still has one name: the first keeps it, whatever number is free goes to the next."""
    taken = {_key(name) for name in names}
    seen: set[str] = set()
    numbered = []
    for name in names:
        number = 2
        chosen = name
        while _key(chosen) in seen or (chosen != name and _key(chosen) in taken):
            chosen, number = f"{name}-{number}", number + 1
        seen.add(_key(chosen))
        numbered.append(chosen)
    return numbered


def _fixed_part(pattern: str) -> str:
    """Return the folder that a pattern names before its first wildcard."""
    parts = Path(pattern).parts
    fixed = [part for i, part in enumerate(parts) if not any(sign in "".join(parts[: i + 1]) for sign in "*?[")]
    return str(Path(*fixed)) if fixed else "."


def _plain(path: Path) -> Path:
    return Path(os.path.abspath(path))


def output_stem(source: str | Path) -> str:
    """The name that the outputs of a source begin with: the file's own name without its suffix, letters untouched."""
    text = str(source)
    if text == STDIN:
        return "stdin"
    return Path(split_page(text)[0].removeprefix(SAMPLE_PREFIX)).stem


def output_stems(sources: Sequence[str | Path]) -> list[str]:
    """Give the `output_stem` of each source of one run; `output_names` tells apart what has one stem.

    Raises:
        ImageError: two sources would be written under one name (also on file systems that ignore case).

    >>> output_stems(["a/x.jpg", "b/y.png"])
    ['x', 'y']
    """
    taken: dict[str, str] = {}
    for source in sources:
        key = _key(output_stem(source))
        if key in taken:
            raise ImageError(f"{taken[key]} and {source} would be written under the same name: run them one by one")
        taken[key] = str(source)
    return [output_stem(source) for source in sources]


def sample_path(name: str) -> Path:
    """Return the path of the photograph `sample:NAME`: in this package, or in scikit-image's.

    Raises:
        ImageError: no such sample.
    """
    chosen = name.removeprefix(SAMPLE_PREFIX)
    if chosen in OWN_SAMPLE_FILES:
        return Path(__file__).parent / "samples" / OWN_SAMPLE_FILES[chosen]
    if chosen not in SAMPLE_FILES:
        names = ", ".join([*OWN_SAMPLE_FILES, *SAMPLE_FILES])
        raise ImageError(f"there is no sample {chosen!r}: choose one of {names}")
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ImageError(f"{name} comes with scikit-image: pip install scikit-image")
    return Path(spec.origin).parent / "data" / SAMPLE_FILES[chosen]
