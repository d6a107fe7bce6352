"""Names of files that no file can have, refused before a command begins."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zim_plugins.cli.runtime import Misuse

FILE_OPTIONS = ("out", "list", "mask", "scribble", "objects", "background")
"""Options of commands that name files or folders."""
LONGEST_NAME = 255
"""Of a file or folder, in bytes, on all common file systems."""


def refuse_impossible_names(images: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise Misuse where a file's or a folder's name is empty, or too long for any file system.

    An empty one, as a shell's variable that was never set gives it, would be taken for the folder one is in.
    """
    given = {"IMAGE": images} | {f"--{name}": options.get(name) for name in FILE_OPTIONS}
    for name, texts in given.items():
        texts = (texts,) if isinstance(texts, str) else texts or ()
        if "" in texts:
            raise Misuse(f"{name} is empty: name a file or a folder (the one you are in is called .)")
        if any(len(os.fsencode(part)) > LONGEST_NAME for text in texts for part in Path(text).parts):
            raise Misuse(f"{name} holds a name of more than {LONGEST_NAME} bytes, which no file has")
