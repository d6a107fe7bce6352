"""Where pictures come from and what their outputs are called: files, folders, globs, samples, standard input."""

import glob
import importlib.util
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from zim_plugins.errors import ImageError

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
SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What counts as a picture when a folder is given."""
STDIN = "-"


def expand_inputs(inputs: Sequence[str | Path]) -> list[str]:
    """Turn files, folders, globs, `sample:NAME` and `-` into single sources for `read_image`, without repeats.

    A folder gives the pictures directly in it, sorted by name. A file that does not exist is kept: reading it names
    the fault, and the others go on.

    Raises:
        ImageError: a folder without pictures, or a pattern that matches nothing.
    """
    sources: dict[str, None] = {}
    for given in inputs:
        text = str(given)
        if text == STDIN or text.startswith(SAMPLE_PREFIX) or Path(text).is_file():
            found = [text]
        elif Path(text).is_dir():
            entries = sorted(Path(text).iterdir())
            found = [str(p) for p in entries if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != "."]
            if not found:
                raise ImageError(f"the folder {text} holds no picture ({', '.join(SUFFIXES)})")
        elif any(sign in text for sign in "*?["):
            found = sorted(p for p in glob.glob(os.path.expanduser(text), recursive=True) if Path(p).is_file())
            if not found:
                raise ImageError(f"no file matches {text}")
        else:
            found = [text]
        sources.update(dict.fromkeys(found))
    return list(sources)


def output_stem(source: str | Path) -> str:
    """The name that the outputs of a source begin with: the file's own name without its suffix, letters untouched."""
    text = str(source)
    if text == STDIN:
        return "stdin"
    return Path(text.removeprefix(SAMPLE_PREFIX)).stem


def output_stems(sources: Sequence[str | Path]) -> list[str]:
    """Give the `output_stem` of each source of one run.

    Raises:
        ImageError: two sources would be written under one name (also on file systems that ignore case).
    """
    taken: dict[str, str] = {}
    for source in sources:
        key = unicodedata.normalize("NFC", output_stem(source)).casefold()
        if key in taken:
            raise ImageError(f"{taken[key]} and {source} would be written under the same name: run them one by one")
        taken[key] = str(source)
    return [output_stem(source) for source in sources]


def sample_path(name: str) -> Path:
    """Where the photograph `sample:NAME` lies: in this package, or in scikit-image's.

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
