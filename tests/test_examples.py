"""The examples and the README's snippet run, offline, with what is shipped."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zim_plugins.core import Prompt, load_predictor, read_alpha, read_image, write_image
from zim_plugins.core.checkpoints.records import is_present

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
def test_one_click_takes_the_coin_out() -> None:
    """The README's first command means something: the matte is one coin, whole, and none of the other 23."""
    rgb = read_image("sample:coins").rgb
    predictor = load_predictor("zim_tiny", device="cpu")
    predictor.set_image(rgb)
    mask = predictor.predict(Prompt.from_point(337, 124)).mask()
    ys, xs = np.mgrid[: mask.shape[0], : mask.shape[1]]
    distance = np.hypot(xs - 337, ys - 124)
    assert mask[distance < 15].all()
    assert not mask[distance > 26].any()


@shipped
def test_a_box_bounds_the_answer_and_is_not_the_answer() -> None:
    rgb = read_image("sample:dogs").rgb
    predictor = load_predictor("zim_tiny", device="cpu")
    predictor.set_image(rgb)
    mask = predictor.predict(Prompt.from_box(208, 234, 358, 445)).mask()
    inside = mask[234:445, 208:358]
    assert inside.sum() > 0.95 * mask.sum()
    assert 0.4 < inside.mean() < 0.85  # the dog, not its box
    assert mask[260:340, 250:320].mean() > 0.9  # the head


@shipped
def test_one_click_takes_the_dog_of_the_readme_and_not_the_other() -> None:
    rgb = read_image("sample:dogs").rgb
    predictor = load_predictor("zim_tiny", device="cpu")
    predictor.set_image(rgb)
    mask = predictor.predict(Prompt.from_point(278, 304)).mask()
    assert mask[260:360, 240:320].mean() > 0.9
    assert not mask[480:].any()
