"""Markups of 3D Slicer as prompts: points and boxes that `File > Save` writes as `.mrk.json`."""

from pathlib import Path
from typing import Any

import numpy as np

from .marks import BoxMark, ClickMark, Marks, Units

SUFFIX = ".mrk.json"
OUTSIDE = "-"
"""Begins the name of a control point that says where the structure is not."""
MAX_TURN = 1e-3
_UNITS: dict[str, Units] = {"LPS": "lps", "RAS": "ras"}


def is_markups(table: Any) -> bool:
    """Return whether a JSON table is one of Slicer's markups files."""
    return isinstance(table, dict) and isinstance(table.get("markups"), list)


def structure_name(path: Path) -> str:
    """Return the structure that a markups file is about: its own name, as Slicer gives it the node's.

    >>> structure_name(Path("prompts/liver.mrk.json"))
    'liver'
    """
    name = path.name
    return name[: -len(SUFFIX)] if name.endswith(SUFFIX) else path.stem


def marks_from_markups(table: Any, name: str) -> list[Marks]:
    """Read a markups file: points are clicks, those whose label begins with "-" outside; boxes of ROIs are boxes.

    Raises:
        ValueError: a markup is of another kind, of a system that is not known, or a box that is turned.
    """
    found: list[Marks] = []
    clicks: list[ClickMark] = []
    boxes: list[BoxMark] = []
    systems = {str(one.get("coordinateSystem", "LPS")) for one in table["markups"]}
    if len(systems) > 1 or not systems <= set(_UNITS):
        raise ValueError(f"markups of the coordinate systems {', '.join(sorted(systems))}: LPS or RAS, one to a file")
    for one in table["markups"]:
        kind = str(one.get("type", ""))
        if kind == "Fiducial":
            for point in one.get("controlPoints", []):
                if point.get("positionStatus", "defined") == "defined":
                    place = tuple(float(v) for v in point["position"])
                    clicks.append(ClickMark(place, not str(point.get("label", "")).startswith(OUTSIDE)))
        elif kind == "ROI":
            boxes.append(_box(one))
        else:
            raise ValueError(f"a markup of the type {kind} is no prompt: points (Fiducial) and boxes (ROI) are")
    units = _UNITS[systems.pop()] if systems else "lps"
    if clicks or boxes:
        found.append(Marks(name, None, tuple(clicks), tuple(boxes), None, units))
    return found


def _box(roi: dict[str, Any]) -> BoxMark:
    axes = np.abs(np.array(roi.get("orientation", np.eye(3).ravel()), dtype=np.float64).reshape(3, 3))
    if np.abs(axes - np.eye(3)).max() > MAX_TURN:
        raise ValueError("a box that is turned against the patient's axes is no prompt: draw it along them")
    centre, half = np.array(roi["center"], dtype=np.float64), np.array(roi["size"], dtype=np.float64) / 2
    return BoxMark(tuple((centre - half).tolist()), tuple((centre + half).tolist()))
