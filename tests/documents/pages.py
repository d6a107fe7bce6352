"""The documents' fenced blocks, the commands in them, and the code in their sentences."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent>\s*)(?P<fence>```+|~~~+)(?P<language>.*)$")


def name_of(page: Path) -> str:
    """The page's path below the repository."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: str
    line: int
    """Of the first fence, counted from 1."""
    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    lines, found, i = page.read_text(encoding="utf-8").splitlines(), [], 0
    while i < len(lines):
        opened = FENCE.match(lines[i])
        if opened is None:
            i += 1
            continue
        indent = len(opened["indent"])
        end = next((j for j in range(i + 1, len(lines)) if lines[j].strip() == opened["fence"]), None)
        assert end is not None, f"{name_of(page)}:{i + 1}: a fence that is never closed"
        text = "".join(f"{line[indent:]}\n" for line in lines[i + 1 : end])
        found.append(Block(name_of(page), i + 1, opened["language"].strip(), text))
        i = end + 1
    return found


@dataclass(frozen=True)
class Command:
    """One command of a shell block."""

    page: str
    words: tuple[str, ...]
    to_file: str | None = None
    """Where its standard output goes."""

    def __str__(self) -> str:
        return " ".join(self.words)


def commands_of(block: Block) -> list[Command]:
    """The commands of a shell block: comments left out, continued lines joined, divided at `&&` and `;`.

    Of a console block the lines that begin with a prompt count, the others are output.
    """
    text = block.text
    if block.language == "console":
        text = "".join(f"{line[2:]}\n" for line in text.splitlines() if line.startswith("$ "))
    found = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        reader = shlex.shlex(_without_comment(line), posix=True, punctuation_chars="&|;<>")
        reader.whitespace_split, reader.commenters = True, ""
        words: list[str] = []
        for word in [*reader, ";"]:
            if word not in ("&&", ";"):
                words.append(word)
                continue
            if words:
                to_file = words[words.index(">") + 1] if ">" in words else None
                kept = words[: words.index(">")] if ">" in words else words
                assert not {"|", "<", ">>", "||", "&"} & set(kept), f"{block.page}: this test reads no {line!r}"
                found.append(Command(block.page, tuple(kept), to_file))
            words = []
    return found


def _without_comment(line: str) -> str:
    quote = ""
    for i, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (i == 0 or line[i - 1].isspace()):
            return line[:i]
    return line


def code_in_sentences(page: Path) -> list[str]:
    """What stands between single backticks outside of the blocks, line breaks read as spaces."""
    text = page.read_text(encoding="utf-8")
    lines, inside = [], False
    for line in text.splitlines():
        if FENCE.match(line):
            inside = not inside
            lines.append("")
        else:
            lines.append("" if inside else line)
    paragraphs = re.split(r"\n\s*\n|\n(?=\||\* |- |\d+\. )", "\n".join(lines))
    return [" ".join(code.split()) for one in paragraphs for code in re.findall(r"`([^`]+)`", one)]
