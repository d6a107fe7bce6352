"""`zim matte --model FILE.py:FUNCTION`: anybody's predictor through the command."""

import json
import re

import pytest

from zim_plugins.cli import main
from zim_plugins.core import read_alpha


@pytest.fixture
def outside(tmp_path) -> str:
    """FILE.py:FUNCTION of a predictor of three methods, which calls the left half the object."""
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\n"
        "from zim_plugins.core import Prediction\n"
        "class Half:\n"
        "    def set_image(self, image): self.size = image.shape[:2]\n"
        "    def predict(self, prompt):\n"
        "        alpha = np.zeros((1, *self.size), np.float32)\n"
        "        alpha[:, :, : self.size[1] // 2] = 1\n"
        "        return Prediction(alpha, np.ones(1, np.float32))\n"
        "    def predict_many(self, prompts): return [self.predict(one) for one in prompts]\n"
        "def make(device): return Half()\n"
        "def wrong(): return 3\n"
        "def raises(): raise KeyError('weights')\n"
        "def wants_two(a, b): return Half()\n"
    )
    return f"{path}:make"


def test_anybodys_predictor_goes_through_the_command(tmp_path, outside, capsys):
    out = tmp_path / "out"
    words = ["matte", "sample:coins", "--model", outside, "--point", "50,50", "--refine", "none", "--out", str(out)]
    assert main(words) == 0
    alpha = read_alpha(out / "coins_alpha.png")
    half = alpha.shape[1] // 2
    assert (alpha[:, :half] == 1).all() and (alpha[:, half:] == 0).all()
    (record,) = [json.loads(path.read_text()) for path in (out / ".zim-records").rglob("*.json")]
    assert outside in (said := json.dumps(record)) and re.search(r"[0-9a-f]{64}", said.split(outside)[1])


@pytest.mark.parametrize(
    ("function", "more", "said"),
    [
        ("wrong", (), "made a int without set_image"),
        ("missing", (), "cannot take the model from"),
        ("raises", (), ":raises raised KeyError: 'weights'"),
        ("wants_two", (), ":wants_two raised TypeError"),
        ("make", ("--dtype", "bf16"), "--dtype: options of checkpoints"),
        ("make", ("--refine", "colour", "--no-zoom"), "--no-zoom, --refine: options of checkpoints"),
    ],
)
def test_what_an_outside_model_cannot_do_is_said(tmp_path, outside, capsys, function, more, said):
    spec = outside.replace(":make", f":{function}")
    words = ["matte", "sample:coins", "--model", spec, "--point", "50,50", "--out", str(tmp_path / "out"), *more]
    assert main(words) in (1, 2)
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_file_that_is_no_python_is_one_line(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("def make(:")
    words = ["matte", "sample:coins", "--model", f"{tmp_path / 'mine.py'}:make", "--out", str(tmp_path / "out")]
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "cannot take the model from" in err and "Traceback" not in err and not (tmp_path / "out").exists()
