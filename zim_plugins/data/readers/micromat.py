"""MicroMat-3K: fine and coarse mattes of DIV2K photographs, with prompts (huggingface.co, naver-iv/MicroMat-3K).

`data_list.txt` has a line for each matte: image, matte, prompt and segmentation, relative to the root. Its README
swaps the folders of the last two against the archive's; both are read, by what the files are.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zim_plugins.data.faults import DataError, Fault, Report
from zim_plugins.data.readers.paired import image_files
from zim_plugins.data.sample import Sample

SPLITS = ("test",)
LICENCE = "CC BY 4.0"


def read_micromat(root: Path, split: str, report: Report) -> Iterator[Sample]:
    """Read fine and coarse mattes; `extra` holds `points` [[x, y, label]...] and `box` [x1, y1, x2, y2] [px].

    Raises:
        DataError: there is neither data_list.txt nor img/ with matte/.
    """
    rows = _listed(root, report) if (root / "data_list.txt").is_file() else _walked(root, report)
    for image, alpha, prompt, segmentation in rows:
        subset = "fine" if "fine" in alpha.relative_to(root).parts else "coarse"
        extra = _read_prompt(prompt, report)
        if segmentation is not None:
            extra["segmentation"] = segmentation.relative_to(root).as_posix()
        yield Sample(image, "micromat3k", split, alpha=alpha, subset=subset, licence=LICENCE, extra=extra)


_Row = tuple[Path, Path, Path | None, Path | None]


def _listed(root: Path, report: Report) -> Iterator[_Row]:
    listing = root / "data_list.txt"
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        words = line.split()
        if len(words) != 4:
            report(Fault("bad line", f"{listing}:{number}", f"expected image matte prompt segmentation, got {line!r}"))
            continue
        image, alpha, *others = (root / word for word in words)
        missing = [p for p in (image, alpha) if not p.is_file()]
        if missing:
            report(Fault("unpaired", f"{listing}:{number}", f"{missing[0]} does not exist"))
            continue
        yield image, alpha, *_by_kind(others)


def _walked(root: Path, report: Report) -> Iterator[_Row]:
    if not ((root / "img").is_dir() and (root / "matte").is_dir()):
        raise DataError(
            f"{root} is not laid out as micromat3k: expected data_list.txt, or img/ with matte/fine/, matte/coarse/"
        )
    images = image_files(root / "img")
    for subset in ("fine", "coarse"):
        folder = root / "matte" / subset
        for stem, alpha in image_files(folder).items() if folder.is_dir() else ():
            image = images.get(stem.rsplit("_", 1)[0])
            if image is None:
                report(Fault("unpaired", str(alpha), "no image in img/"))
                continue
            others = [
                root / kind / subset / f"{stem}{suffix}" for kind in ("prompt", "seg") for suffix in (".json", ".png")
            ]
            yield image, alpha, *_by_kind([p for p in others if p.is_file()])


def _by_kind(paths: list[Path]) -> tuple[Path | None, Path | None]:
    """The prompt and the segmentation, whichever folder they are in."""
    prompt = next((p for p in paths if p.suffix == ".json"), None)
    return prompt, next((p for p in paths if p.suffix != ".json" and p.is_file()), None)


def _read_prompt(path: Path | None, report: Report) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        prompt = json.loads(path.read_text(encoding="utf-8"))
        points = [[float(x), float(y), int(label)] for x, y, label in prompt.get("point", []) if label >= 0]
        box = [float(v) for v in prompt["bbox"]]
        return {"points": points, "box": box}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        report(
            Fault("broken prompt", str(path), f"expected point [[x, y, label]...] and bbox [x1, y1, x2, y2]: {error}")
        )
        return {}
