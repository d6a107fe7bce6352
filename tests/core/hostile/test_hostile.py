"""No traceback that is not ours: calls and weight files of strangers, in an interpreter without shape checks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zim_plugins.core.checkpoints.damage import MAX_CONFIG_NUMBER, check_config, why_unreadable

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("script", "least"), [("calls", 1000), ("weights", 400 if os.environ.get("ZIM_FUZZ") == "full" else 100)]
)
def test_strangers_get_errors_of_ours(script: str, least: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.core.hostile.{script}", str(tmp_path), "0"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "unpickled" not in done.stdout
    found = json.loads(done.stdout)
    assert found["calls"] >= least
    assert found["faults"] == {}


def test_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    for content, words in (
        (b"", "empty"),
        (b"\xef\xbb\xbf \n<HTML><body>", "web page"),
        (b'<?xml version="1.0"?><Error/>', "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b'{"message": "Not Found"}', "server's message"),
        (b"Hello, world", "text"),
        (b"PK\x03\x04\x00\x00", r"6 bytes"),
    ):
        path.write_bytes(content)
        assert words in why_unreadable(path)
    assert why_unreadable(tmp_path / "none") == "No such file or directory"


def test_the_limit_of_configurations() -> None:
    check_config({"a": [1, {"b": MAX_CONFIG_NUMBER, "c": "x", "d": None, "e": True}]})
    for value in (MAX_CONFIG_NUMBER + 1, -MAX_CONFIG_NUMBER - 1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="configuration"):
            check_config({"a": [value]})
