"""Fills over HTTP: with real lama-cleaner and IOPaint servers in environments of their own, and with bad ones."""

import base64
import contextlib
import io
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.inpainters.base import FillSettings
from inpaint.inpainters.lama import LamaInpainter
from inpaint.inpainters.server import ServerError, ServerInpainter
from tests.inpaint.tiny_models import save_lama
from zim_plugins.core import UnsupportedPrompt

START_S = 180.0
"""How long a server may take to import what it needs."""


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (61, 83, 3), dtype=np.uint8)


@pytest.fixture
def hole() -> np.ndarray:
    hole = np.zeros((61, 83), bool)
    hole[20:40, 30:60] = True
    return hole


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SERVERS = {
    "lama-cleaner": ("lama_cleaner", "entry_point", (), "lama-cleaner==1.2.5 and 'huggingface_hub<0.26'"),
    "iopaint": ("iopaint", "entry_point", ("start",), "iopaint==1.6.0 and transformers==4.48.3"),
}
"""Package, its door, what the command begins with, and what its environment holds."""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str, Path]]:
    """A running server with a tiny network: its kind, its address, and the network's file."""
    package, door, begin, needs = SERVERS[request.param]
    variable = f"ZIM_{package.upper()}_PYTHON"
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no python whose environment holds {needs}")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    path, port = save_lama(tmp_path / "hub" / "checkpoints" / "big-lama.pt"), free_port()
    start = f"from {package} import {door}; {door}()"
    command = [python, "-c", start, *begin, "--model", "lama", "--device", "cpu", "--port", str(port)]
    environment = {**os.environ, "TORCH_HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path), "NO_COLOR": "1"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
    try:
        end = time.monotonic() + START_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{request.param} did not start: {(tmp_path / 'server.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield request.param, f"http://127.0.0.1:{port}", path
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_a_real_server_gives_what_our_loader_gives(
    server: tuple[str, str, Path], image: np.ndarray, hole: np.ndarray
) -> None:
    kind, url, path = server
    inpainter = ServerInpainter(url)
    assert (inpainter.is_iopaint, inpainter.model, inpainter.takes_text) == (kind == "iopaint", "lama", False)
    assert np.array_equal(inpainter.fill(image, hole), LamaInpainter(path, device="cpu").fill(image, hole))
    with pytest.raises(UnsupportedPrompt, match="runs lama, which takes no text"):
        inpainter.fill_guided(image, hole, prompt="a cat")
    with pytest.raises(ServerError, match=r"answers 4\d\d"):
        inpainter._request("/nothing/here", b"", "text/plain", timeout_s=10, limit=9999)


class Fake(BaseHTTPRequestHandler):
    """IOPaint's interface, with a filler that turns the hole red and everything else black."""

    model: object = {"name": "lama", "need_prompt": False}
    answer: bytes | int | None = None
    """What a fill is answered with: a body, a status, or the image."""
    delay_s = 0.0
    asked: dict[str, object]

    def do_GET(self) -> None:
        if self.path == "/api/v1/model" and self.model is not None:
            self._send(200, json.dumps(self.model).encode())
        else:
            self._send(404, b"<!doctype html>")

    def do_POST(self) -> None:
        type(self).asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(self.delay_s)
        if isinstance(self.answer, int):
            self._send(self.answer, b'{"detail": "CUDA out of memory"}')
            return
        mask = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(str(self.asked["mask"])))))
        stream = io.BytesIO()
        PIL.Image.fromarray(np.stack([mask, 0 * mask, 0 * mask], axis=-1)).save(stream, "PNG")
        self._send(200, stream.getvalue() if self.answer is None else self.answer)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(ConnectionError):  # the one who asked may have left
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[tuple[type[Fake], str]]:
    class Handler(Fake):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Handler, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_iopaint_is_known_by_its_interface(fake: tuple[type[Fake], str], image: np.ndarray, hole: np.ndarray) -> None:
    handler, url = fake
    inpainter = ServerInpainter(url + "/")
    assert (inpainter.is_iopaint, inpainter.model, inpainter.name) == (True, "lama", url + "/")
    filled = inpainter.fill(image, hole)
    assert (filled[hole] == (255, 0, 0)).all() and np.array_equal(filled[~hole], image[~hole])
    sent = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(str(handler.asked["image"])))))
    assert np.array_equal(sent, image)


def test_a_text_reaches_a_diffusion_model(fake: tuple[type[Fake], str], image: np.ndarray, hole: np.ndarray) -> None:
    handler, url = fake
    handler.model = {"name": "sd", "need_prompt": True}
    inpainter = ServerInpainter(url, settings=FillSettings(seed=7, steps=3, negative_prompt="fog"))
    inpainter.fill_guided(image, hole, prompt="a cat")
    asked = handler.asked
    assert (asked["prompt"], asked["negative_prompt"], asked["sd_seed"], asked["sd_steps"]) == ("a cat", "fog", 7, 3)
    with pytest.raises(UnsupportedPrompt, match="hard masks only"):
        inpainter.fill_guided(image, hole, prompt="a cat", change=hole.astype(np.float32))


def test_a_text_for_a_model_that_takes_none_is_refused(
    fake: tuple[type[Fake], str], image: np.ndarray, hole: np.ndarray
) -> None:
    with pytest.raises(UnsupportedPrompt, match=r"runs lama.*--model"):
        ServerInpainter(fake[1]).fill_guided(image, hole, prompt="a cat")
    with pytest.raises(UnsupportedPrompt, match="takes no steps"):
        ServerInpainter(fake[1], settings=FillSettings(steps=3))
    with pytest.raises(UnsupportedPrompt, match="takes no strength"):
        ServerInpainter(fake[1]).with_settings(FillSettings(strength=0.5))


@pytest.mark.parametrize(
    ("answer", "match"),
    [(500, "answers 500.*CUDA out of memory"), (b"hello", "no image"), (b"\x89PNG\r\n\x1a\n", "no image")],
)
def test_what_goes_wrong_is_told(
    fake: tuple[type[Fake], str], image: np.ndarray, hole: np.ndarray, answer: bytes | int, match: str
) -> None:
    handler, url = fake
    inpainter = ServerInpainter(url)
    handler.answer = answer
    with pytest.raises(ServerError, match=match):
        inpainter.fill(image, hole)


def test_a_image_of_another_size_is_refused(fake: tuple[type[Fake], str], image: np.ndarray, hole: np.ndarray) -> None:
    handler, url = fake
    stream = io.BytesIO()
    PIL.Image.new("RGB", (5, 4)).save(stream, "PNG")
    handler.answer = stream.getvalue()
    with pytest.raises(ServerError, match=r"5x4 px.*83x61 px"):
        ServerInpainter(url).fill(image, hole)


def test_a_slow_server_is_left_after_the_time_out(
    fake: tuple[type[Fake], str], image: np.ndarray, hole: np.ndarray
) -> None:
    handler, url = fake
    handler.delay_s = 0.5
    with pytest.raises(ServerError, match=r"did not answer within 0\.1 s"):
        ServerInpainter(url, timeout_s=0.1).fill(image, hole)


def test_no_server_and_another_server_are_named_with_the_remedy(fake: tuple[type[Fake], str]) -> None:
    handler, url = fake
    handler.model = None
    with pytest.raises(ServerError, match="neither lama-cleaner nor IOPaint: start one"):
        ServerInpainter(url)
    with pytest.raises(ServerError, match=r"no server answers.*lama-cleaner --model lama.*iopaint start"):
        ServerInpainter(f"http://127.0.0.1:{free_port()}")


def test_a_full_hole_is_not_sent(fake: tuple[type[Fake], str], image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="whole image"):
        ServerInpainter(fake[1]).fill(image, np.ones(image.shape[:2], bool))
