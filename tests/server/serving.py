"""What tests of the server share: files of images, and a server that listens."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import PIL.Image


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(content)))


def add(client: Any, array: np.ndarray, name: str = "ball.png") -> dict[str, Any]:
    answer = client.post("/api/images", files={"image": (name, png(array))})
    assert answer.status_code == 201, answer.text
    return answer.json()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Its address, while it listens in a thread of its own."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
