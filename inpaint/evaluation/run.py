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
from zim_plugins.evaluation import ModelOptions, Record, ResultStore, Row, files_digest, model_slug, object_mask
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
ROW_NAMES = ("case", "subset", "category", "matte", "filler", "method", "failure")
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
    draw: bool = True
    """Whether each result is drawn."""
    others: tuple[OtherTool, ...] = ()
    """Folders of other tools' results, scored as methods beside each filler's."""
    keep_results: bool = False
    """Whether each result is kept as a PNG."""
    options: ModelOptions = ModelOptions()
    """How the mattes' models are run."""
    weights: tuple[str, ...] = ()
    """What scores with weights are given: they are part of what rows depend on."""

    def store(self, matte: str) -> ResultStore:
        """Return the place of the rows with one matte: of a case, those of all fillers and methods are one file."""
        return ResultStore(self.out, model_slug(matte), "its image, its mask or another tool's result", ROW_NAMES)

    def signature(self, matte: str) -> dict[str, Any]:
        """Return all that rows depend on besides the files of their cases, this package's code included."""
        named = {name: getattr(self, name) for name in ("fillers", "methods", "fills", "keep_results")}
        others = [[other.name, str(other.folder)] for other in self.others]
        named |= {"pictures": self.draw, "results": others, "weights": self.weights, "code": code_sha256()}
        how = {"zoom": self.options.zoom, "refine": self.options.refine} if matte != TRUTH else {}
        return {"model": matte, "sha256": self.sha256.get(matte), **how, **named}

    def inputs(self, case: Listed) -> str:
        """Return a digest of what a case is, and of its files."""
        files = [Path(file) for file in case.files]
        files += [path for other in self.others for path in sorted(other.folder.iterdir())]
        return files_digest(files, case.key, case.subset, case.category)


@cache
def code_sha256() -> str:
    """SHA-256 over the package's modules: rows of another version are not mixed with those of this one."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


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
        networks: for the scores that need weights.
        tick: called for each case whose rows are written.

    Raises:
        ValueError: no filler has a name of the plan.
        MissingExtra: a filler is not installed.
    """
    fillers = {name: load_inpainter(name) for name in plan.fillers}
    for listed in cases:
        rows = _evaluate(predictor, matte, listed, plan, fillers, networks)
        plan.store(matte).write(unit_of(listed), Record.of(rows, plan.inputs(listed)))
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

    # Read the case.
    try:
        case = listed.read()
        mask = object_mask(case.alpha)
    except (ImageError, ZimError, ValueError, OSError) as error:
        failed("unreadable case", error, every)
        return every
    box = tight_box(mask)
    # Find the matte, once for all fillers.
    try:
        alpha = case.alpha if predictor is None else _matte(predictor, case, box)
    except (ZimError, ValueError, RuntimeError, MemoryError) as error:
        failed("model failed", error, every)
        return every
    for name, filler in fillers.items():
        rows = [row for row in every if row["filler"] == name]
        # Remove by each method, and read what others have made of the case.
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
        # Score, keep and draw.
        for row in (row for row in rows if row["method"] in results):
            result, hole, twin = results[row["method"]]
            row |= score_result(
                result, hole, alpha, case, box=box, category=listed.category, twin=twin, networks=networks
            )
            stem = f"{unit_of(listed)}-{model_slug(matte)}-{model_slug(name)}-{row['method']}"
            if plan.keep_results:
                row["result"] = f"results/{stem}.png"
                write_image(plan.out / row["result"], result)
            if plan.draw:
                row["drawn"] = f"pictures/{stem}.jpg"
                draw_removal(plan.out / row["drawn"], result, case, box)
            if networks.inception is not None:
                row["features"] = f"features/{stem}.npy"
                reference = case.image if case.clean is None else case.clean
                with atomic_write(plan.out / row["features"], durable=True) as stream:
                    np.save(stream, np.stack([networks.inception(image) for image in (result, reference)]))
    return every


def _matte(predictor: Predictor, case: Case, box: Float[np.ndarray, " 4"]) -> Float32[np.ndarray, "h w"]:
    predictor.set_image(case.image)
    alpha = predictor.predict(Prompt(box=box)).alpha
    if alpha.shape != case.alpha.shape:
        raise ValueError(f"the matte is {alpha.shape}, its image {case.alpha.shape} (height, width)")
    return alpha


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The plan as the report tells it, without places of this machine."""
    record = asdict(plan)
    return {name: record[name] for name in ("mattes", "fillers", "methods", "fills", "weights")} | {
        "prompt": "tight box of the true alpha > 0.5",
        "others": [other.name for other in plan.others],
        "zoom": plan.options.zoom,
        "refine": plan.options.refine,
    }


def unit_of(case: Listed) -> str:
    """Return a file name that no other case has."""
    clean = "".join(c if c.isalnum() or c in "._-" else "_" for c in case.key)
    return f"{clean[-80:]}-{hashlib.sha256(case.key.encode()).hexdigest()[:8]}"


def fingerprint(cases: Sequence[Listed]) -> str:
    """SHA-256 over names, and over names and sizes of all files [bytes]."""
    digest = hashlib.sha256()
    for case in cases:
        sizes = [(Path(f).name, Path(f).stat().st_size if Path(f).is_file() else -1) for f in case.files]
        digest.update(json.dumps([case.key, sizes]).encode())
    return digest.hexdigest()
