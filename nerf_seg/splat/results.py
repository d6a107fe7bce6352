"""Results of `zim-splat` in their folder: each file whole, and a mark while the run is not at its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32

from zim_plugins.cli.runtime import Misuse
from zim_plugins.imaging import atomic_write, leftovers

from ..field.gaussians.files import SplatFile
from ..field.gaussians.formats.splatfacto import find_checkpoint

if TYPE_CHECKING:
    from .cli import Args

UNFINISHED = ".zim-splat-unfinished"
"""Lies in the folder while results are written: what a killed run left is replaced by the next one."""


def result_paths(args: "Args") -> dict[str, Path]:
    """Return where the three scenes are written, after checking that nothing else is lost by it.

    Raises:
        Misuse: an input or an earlier run's result would be replaced.
    """
    name = args.scene.name.lower()
    suffix = ".compressed.ply" if name.endswith(".compressed.ply") else args.scene.suffix.lower()
    if find_checkpoint(args.scene) is not None:
        suffix = ".ply"
    paths = {kind: args.out / f"{kind}{suffix}" for kind in ("object", "rest", "membership")}
    others = [args.out / name for name in ("report.json", "membership.npy", "contact_sheet.png")]
    inputs = {path.resolve() for path in (args.scene, args.cameras, args.transform, args.mask) if path is not None}
    if inputs & {path.resolve() for path in (*paths.values(), *others)}:
        raise Misuse(f"--out {args.out} would overwrite the scene that is read: name another folder")
    mattes = (args.out / "alpha").resolve()
    if args.images.resolve().is_relative_to(mattes) or mattes.is_relative_to(args.images.resolve()):
        raise Misuse(
            f"--out {args.out} would write mattes into the folder of the photographs, which are read from there "
            "the next time: name another folder"
        )
    if not args.overwrite and not (args.out / UNFINISHED).exists():
        there = [path for path in (*paths.values(), *others) if path.exists()]
        there += sorted((args.out / "alpha").glob("*"))[:1]
        if there:
            raise Misuse(f"{there[0]} is there already: name another folder with --out, or give --overwrite")
    return paths


@contextmanager
def unfinished(out: Path) -> Iterator[None]:
    """Mark a folder while results are written into it; the mark goes when the block ends without a fault."""
    mark = out / UNFINISHED
    if mark.exists():
        for temporary in out.rglob(".*.tmp*"):
            if _of_a_killed_run(temporary):
                temporary.unlink(missing_ok=True)
    with atomic_write(mark) as stream:
        stream.write(b"a run of zim-splat writes here, or was stopped while it did\n")
    yield
    mark.unlink(missing_ok=True)


def _of_a_killed_run(path: Path) -> bool:
    """Return whether a file is what a killed run left of a result."""
    whole = path.with_name(path.name[1:].rsplit(".tmp", 1)[0].rpartition(".")[0])
    return path in leftovers(whole)


def write_scenes(
    file: SplatFile, shares: Float32[np.ndarray, " n"], kept: Bool[np.ndarray, " n"], paths: dict[str, Path]
) -> None:
    """Write the object, the scene without it, and the scene with its membership, each whole."""
    contents: dict[str, Callable[[], SplatFile]] = {
        "object": lambda: file.select(kept),
        "rest": lambda: file.select(~kept),
        "membership": lambda: file.with_membership(shares),
    }
    for kind, make in contents.items():
        with atomic_write(paths[kind]) as stream:
            stream.write(make().encode())
    with atomic_write(paths["object"].parent / "membership.npy") as stream:
        np.save(stream, shares)
