"""The run: each case is matted, emptied by each filler and method, and scored; the rows of each matte are one file."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from zim_plugins.core import ImageError, Predictor, Prompt, ZimError, write_image
from zim_plugins.evaluation.models import model_slug
from zim_plugins.evaluation.prompting import object_mask
from zim_plugins.imaging import atomic_write
from zim_plugins.training.samples.prompts import tight_box

from ..inpainters.base import Inpainter
from ..inpainters.registry import load_inpainter
from .cases import Case, Listed
from .methods import Fills, Removed, run_methods
from .others import OtherTool, repainted
from .scoring import NO_NETWORKS, Networks, draw_removal, score_result, twin_of

TRUTH = "truth"
"""The name of the true matte, or of the drawn mask, among the mattes."""
Row = dict[str, Any]
"""Of one case, matte, filler and method: these names, scores or a failure, and what else is on the disk."""
Tick = Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """Work on every case of a run."""

    out: Path
    """Folder of the run."""
    mattes: tuple[str, ...]
    """`truth`, or a model's name for `zim_plugins.evaluation.models`."""
    sha256: dict[str, str | None]
    """Of each model."""
    fillers: tuple[str, ...]
    methods: tuple[str, ...]
    """Of `METHODS`."""
    fills: Fills = "own"
    pictures: bool = True
    """Whether each result is drawn."""
    others: tuple[OtherTool, ...] = ()
    """Folders of other tools' results, scored as methods beside each filler's."""
    keep_results: bool = False
    """Whether each result is kept as a PNG."""
    weights: tuple[str, ...] = ()
    """What scores with weights are given: they are part of what rows depend on."""

    def rows_file(self, matte: str, case: Listed) -> Path:
        """Return the path of the rows of a case with one matte."""
        return self.out / "rows" / model_slug(matte) / f"{_slug(case.key)}.json"

    def signature(self, matte: str, case: Listed) -> str:
        """SHA-256 over all that these rows depend on, this package's code included."""
        sizes = [Path(f).stat().st_size if Path(f).is_file() else -1 for f in case.files]
        asked = [code_sha256(), matte, self.sha256.get(matte), self.fillers, self.methods, self.fills, self.pictures]
        asked += [[[o.name, str(o.folder), _sizes(o.folder)] for o in self.others], self.keep_results]
        asked += [self.weights, case.key, case.subset, case.category, [Path(f).name for f in case.files], sizes]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


@cache
def code_sha256() -> str:
    """SHA-256 over the package's modules: rows of another version are not mixed with those of this one."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def finished_rows(plan: Plan, matte: str, case: Listed) -> list[Row] | None:
    """The rows that an earlier run of the same plan finished; None where there are none, or some failed."""
    try:
        record = json.loads(plan.rows_file(matte, case).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if record.get("signature") != plan.signature(matte, case) or any(row["failure"] for row in record["rows"]):
        return None
    return record["rows"]


def read_rows(plan: Plan, matte: str, case: Listed) -> list[Row]:
    """The rows as the run left them, failures included."""
    return json.loads(plan.rows_file(matte, case).read_text(encoding="utf-8"))["rows"]


def evaluate_cases(
    predictor: Predictor | None,
    matte: str,
    cases: Sequence[Listed],
    plan: Plan,
    *,
    networks: Networks = NO_NETWORKS,
    tick: Tick | None = None,
) -> None:
    """Do all cases with one matte and write their rows.

    Args:
        predictor: makes the matte from the object's tight box; None for the truth.
        matte: its name in the results.
        cases: what is not yet done.
        plan: what to do.
        networks: for the scores that need weights.
        tick: called for each case whose rows are written.

    Raises:
        ValueError: no filler has a name of the plan.
        MissingExtra: a filler is not installed.
    """
    fillers = {name: load_inpainter(name) for name in plan.fillers}
    for listed in cases:
        rows = _evaluate(predictor, matte, listed, plan, fillers, networks)
        with atomic_write(plan.rows_file(matte, listed), durable=True) as stream:
            record = {"signature": plan.signature(matte, listed), "rows": rows}
            stream.write(json.dumps(record, sort_keys=True).encode())
        if tick is not None:
            tick()


def _evaluate(
    predictor: Predictor | None,
    matte: str,
    listed: Listed,
    plan: Plan,
    fillers: dict[str, Inpainter],
    networks: Networks,
) -> list[Row]:
    blank: Row = {"case": listed.key, "subset": listed.subset, "category": listed.category, "matte": matte}
    methods = (*plan.methods, *(other.name for other in plan.others))
    every = [blank | {"filler": f, "method": m, "failure": None} for f in plan.fillers for m in methods]

    def failed(kind: str, error: BaseException, rows: list[Row]) -> None:
        for row in rows:
            row["failure"] = {"kind": kind, "message": " ".join(str(error).split())}

    try:
        case = listed.read()
        mask = object_mask(case.alpha)
    except (ImageError, ZimError, ValueError, OSError) as error:
        failed("unreadable case", error, every)
        return every
    box = tight_box(mask)
    try:
        alpha = case.alpha if predictor is None else _matte(predictor, case, box)
    except (ZimError, ValueError, RuntimeError, MemoryError) as error:
        failed("model failed", error, every)
        return every
    for name, filler in fillers.items():
        rows = [row for row in every if row["filler"] == name]
        try:
            results = run_methods(case.image, alpha, plan.methods, filler, plan.fills, twin=twin_of(case))
        except (ZimError, ValueError, RuntimeError, MemoryError) as error:
            failed("removal failed", error, rows)
            continue
        for other in plan.others:
            try:
                found = other.read(listed.key, case.image)
                results[other.name] = Removed(found, repainted(case.image, found, case.alpha > 0))
            except (ImageError, ZimError, ValueError, OSError) as error:
                failed("no result", error, [row for row in rows if row["method"] == other.name])
        for row in (row for row in rows if row["method"] in results):
            result, hole, twin = results[row["method"]]
            row |= score_result(
                result, hole, alpha, case, box=box, category=listed.category, twin=twin, networks=networks
            )
            stem = f"{_slug(listed.key)}-{model_slug(matte)}-{model_slug(name)}-{row['method']}"
            if plan.keep_results:
                row["result"] = f"results/{stem}.png"
                write_image(plan.out / row["result"], result)
            if plan.pictures:
                row["drawn"] = f"pictures/{stem}.jpg"
                draw_removal(plan.out / row["drawn"], result, case, box)
            if networks.inception is not None:
                row["features"] = f"features/{stem}.npy"
                reference = case.image if case.clean is None else case.clean
                with atomic_write(plan.out / row["features"], durable=True) as stream:
                    np.save(stream, np.stack([networks.inception(picture) for picture in (result, reference)]))
    return every


def _matte(predictor: Predictor, case: Case, box: Float[np.ndarray, " 4"]) -> Float32[np.ndarray, "h w"]:
    predictor.set_image(case.image)
    alpha = predictor.predict(Prompt(box=box)).alpha
    if alpha.shape != case.alpha.shape:
        raise ValueError(f"the matte is {alpha.shape}, its picture {case.alpha.shape} (height, width)")
    return alpha


def _sizes(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes [bytes] of a folder's files."""
    return sorted((path.name, path.stat().st_size) for path in folder.iterdir() if path.is_file())


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The plan as the report tells it, without places of this machine."""
    record = asdict(plan)
    return {name: record[name] for name in ("mattes", "fillers", "methods", "fills", "weights")} | {
        "prompt": "tight box of the true alpha > 0.5",
        "others": [other.name for other in plan.others],
    }


def _slug(key: str) -> str:
    """A file name that no other case has."""
    clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in key)
    return f"{clean[-80:]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def fingerprint(cases: Sequence[Listed]) -> str:
    """SHA-256 over names, and over names and sizes of all files [bytes]."""
    digest = hashlib.sha256()
    for case in cases:
        sizes = [(Path(f).name, Path(f).stat().st_size if Path(f).is_file() else -1) for f in case.files]
        digest.update(json.dumps([case.key, sizes]).encode())
    return digest.hexdigest()
