"""Tables of rows as CSV, one way for every command."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def csv_text(columns: Sequence[str], lines: Iterable[Mapping[str, Any]], *, digits: int | None = None) -> str:
    """Return rows as CSV: None and NaN are empty, other names than the columns are left out.

    A failure, which rows hold as a kind and a message, fills the columns `failure` and `message`.

    Args:
        columns: names, in order.
        digits: decimals that floats are rounded to; by default they are written as they are.

    Example:
        >>> print(csv_text(("iou", "failure", "message"), [{"iou": float("nan"), "failure": None}]), end="")
        iou,failure,message
        ,,
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for line in lines:
        failure = line.get("failure")
        if isinstance(failure, Mapping):
            line = {**line, "failure": failure["kind"], "message": failure["message"]}
        writer.writerow([_cell(line.get(name), digits) for name in columns])
    return text.getvalue()


def _cell(value: Any, digits: int | None) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return round(value, digits) if isinstance(value, float) and digits is not None else value
