"""Rows of the lists that commands take: CSV and JSON files, as spreadsheets and programs write them."""

import csv
import json
from pathlib import Path
from typing import Any


def read_csv_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV file by column; a cell without a column stands under "a column without a name".

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream, skipinitialspace=True, restkey="a column without a name"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read {path}: {error}") from error


def read_json_list(path: Path, *, lines: bool) -> Any:
    """Return the value of a JSON file, or with `lines` those of its lines.

    Raises:
        ValueError: the file cannot be read, or is nested too deeply.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
