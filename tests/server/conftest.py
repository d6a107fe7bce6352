"""A server without weights: its predictor answers with soft disks."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tests.server.serving import add

MISSING = [name for name in ("fastapi", "httpx", "python_multipart") if find_spec(name) is None]
if not MISSING:
    from fastapi.testclient import TestClient

    from tests.conftest import FakePredictor
    from zim_plugins.server import ServerSettings, create_app
collect_ignore_glob = ["test_[!p]*.py", "test_page.py"] if MISSING else []  # test_presence.py says why


@pytest.fixture
def ball() -> np.ndarray:
    """A red ball on blue: uint8 (80, 120, 3)."""
    ys, xs = np.mgrid[:80, :120] + 0.5
    alpha = np.clip((20 - np.hypot(xs - 60, ys - 40)) / 2 + 0.5, 0, 1)[..., None]
    return (alpha * (220, 30, 20) + (1 - alpha) * (20, 40, 200) + 0.5).astype(np.uint8)


@pytest.fixture
def clients() -> Iterator[Callable[..., Any]]:
    """Make clients, each a browser with cookies of its own; those of one app share its server."""
    opened: list[TestClient] = []

    def make(app: Any = None, *, predictor: Any = None, extensions: Any = (), **settings: Any) -> "TestClient":
        if app is None:
            app = create_app(predictor or FakePredictor(), ServerSettings(**settings), extensions=extensions)
        client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(clients) -> "TestClient":
    return clients()


@pytest.fixture
def image_id(client, ball) -> str:
    return add(client, ball)["id"]
