"""The examples and the README's snippet run, offline, with what is shipped."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zim_plugins.core.checkpoints import is_present
from zim_plugins.core.image_io import read_alpha, read_image, write_image

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

shipped = pytest.mark.skipif(not is_present("zim_tiny"), reason="zim_tiny is not in this checkout")


@shipped
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_example_runs_and_is_short(path: Path, tmp_path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    ran = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


@shipped
def test_the_readme_s_snippet_runs(tmp_path: Path) -> None:
    snippet = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    write_image(tmp_path / "photo.jpg", read_image("sample:astronaut").rgb)
    snippet = snippet.replace("610, 470", "500, 470")  # the astronaut is 512 px wide
    ran = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    alpha = read_alpha(tmp_path / "photo_alpha.png")
    assert alpha.shape == (512, 512)
    assert alpha.max() > 0.5


@shipped
def test_one_click_takes_the_astronaut_out(tmp_path: Path) -> None:
    """The shipped weights mean something: a box on a person gives a matte that is mostly inside it and not the box."""
    from zim_plugins.core import Prompt, load_predictor

    rgb = read_image("sample:astronaut").rgb
    predictor = load_predictor("zim_tiny", device="cpu")
    predictor.set_image(rgb)
    box = np.array([15, 0, 430, 512])
    mask = predictor.predict(Prompt(box=box.astype(float))).mask()
    inside = mask[box[1] : box[3], box[0] : box[2]]
    assert inside.sum() > 0.95 * mask.sum()
    assert 0.3 < inside.mean() < 0.9
    assert mask[100:400, 180:260].mean() > 0.9  # face and suit
    assert mask[10:120, 20:100].mean() < 0.3  # the flag
