"""Print a bash block of README.md, letter by letter: `python .ci/readme_block.py N`, the first is 1."""

import re
import sys
from pathlib import Path


def bash_blocks(text: str) -> list[str]:
    """The contents of all ```bash blocks, in order."""
    return re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    readme = Path(__file__).parents[1] / "README.md"
    print(bash_blocks(readme.read_text(encoding="utf-8"))[int(sys.argv[1]) - 1], end="")
