"""The package's public names: all there, and nothing heavy until one is used."""

import subprocess
import sys

import pytest

import inpaint


def test_every_public_name_is_there() -> None:
    assert {"remove", "fill", "replace", "cutout"} <= set(inpaint.__all__)
    for name in inpaint.__all__:
        getattr(inpaint, name)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, inpaint; print({'torch', 'numpy', 'PIL', 'skimage', 'diffusers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        inpaint.nonsense  # noqa: B018
