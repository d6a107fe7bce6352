"""Rows of the lists that commands take: CSV and JSON files, as spreadsheets and programs write them."""

import codecs
import csv
import io
import json
from pathlib import Path
from typing import Any


def read_csv_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV file by column; a cell without a column stands under "a column without a name".

    Columns are told apart by commas, semicolons or tabs, whichever the header has most of; its names are taken in small
    letters. UTF-8, and UTF-16 with its mark, are read.

    Raises:
        ValueError: the file cannot be read, or two columns have one name.
    """
    try:
        content = path.read_bytes()
        is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
        header = text.partition("\n")[0]
        divider = max(",;\t", key=header.count)
        rows = csv.DictReader(
            io.StringIO(text, newline=""), skipinitialspace=True, restkey="a column without a name", delimiter=divider
        )
        rows.fieldnames = columns = [name.strip().lower() for name in rows.fieldnames or ()]
        found = list(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise ValueError(f"{path} has the column {twice[0]} twice, and only the last would count")
    return found


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
