"""The packages that the server and its tests need: where one is missing, this says why nothing else here runs."""

import pytest

from .conftest import MISSING


def test_the_server_s_packages_are_here() -> None:
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)} missing: pip install 'zim-plugins[serve]' httpx")
