"""Servers that misbehave: each is left in time, within bounds, with one line that says what it did."""

import contextlib
import io
import json
import socket
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import PIL.Image
import pytest

from inpaint import remove
from inpaint.inpainters.server import ServerError, ServerInpainter

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
MODEL = json.dumps({"name": "lama", "need_prompt": False}).encode()
TIMEOUT_S = 1.0
Act = Callable[[socket.socket], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Act], str]]:
    """Starts a server that says it is IOPaint and answers every fill by what it is given; answers with its address."""
    listeners: list[socket.socket] = []

    def start(act: Act) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=_accept, args=(listener, act), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


def _accept(listener: socket.socket, act: Act) -> None:
    with contextlib.suppress(OSError):
        while True:
            link, _ = listener.accept()
            threading.Thread(target=_answer, args=(link, act), daemon=True).start()


def _answer(link: socket.socket, act: Act) -> None:
    with contextlib.suppress(OSError), link:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += link.recv(65536)
        head, _, body = asked.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(MODEL), MODEL))
            return
        length = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")))
        while len(body) < length:
            body += link.recv(65536)
        act(link)


def whole(body: bytes) -> Act:
    return lambda link: link.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (width, height)).save(stream, "PNG")
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG that says it has 60,000 x 60,000 px."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
    )


def endless(link: socket.socket) -> None:
    link.sendall(HEAD + b"\r\n")
    while True:
        link.sendall(bytes(1 << 16))


def dripping(link: socket.socket) -> None:
    link.sendall(HEAD + b"Content-Length: 5000\r\n\r\n")
    while True:
        link.sendall(b"x")
        time.sleep(0.05)


def dripping_head(link: socket.socket) -> None:
    while True:
        link.sendall(b"H")
        time.sleep(0.05)


def silent(link: socket.socket) -> None:
    time.sleep(5)


def cut_off(link: socket.socket) -> None:
    link.sendall(HEAD + b"Content-Length: 5000\r\n\r\nabc")


def closed(link: socket.socket) -> None:
    link.close()


def redirecting(link: socket.socket) -> None:
    link.sendall(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\nContent-Length: 0\r\n\r\n")


def gibberish(link: socket.socket) -> None:
    link.sendall(b"\x00\x01 not HTTP\r\n\r\n")


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (whole(bomb()), r"60000x60000 px, sent were|absurd size"),
        (endless, r"more than \d+ bytes"),
        (dripping, r"did not answer within 1 s"),
        (dripping_head, r"did not answer within 1 s|broke the connection off"),
        (silent, r"did not answer within 1 s"),
        (cut_off, r"broke the connection off"),
        (closed, r"broke the connection off"),
        (redirecting, r"answers 302"),
        (gibberish, r"broke the connection off"),
        (whole(b"<html>no</html>"), r"no image"),
        (whole(png(7, 5)), r"7x5 px"),
        (whole(png(160, 128)[:-30]), r"no image"),
    ],
)
def test_what_a_server_does_wrong_is_told_in_time_and_within_bounds(scene, serve, act: Act, match: str) -> None:
    inpainter = ServerInpainter(serve(act), timeout_s=TIMEOUT_S)
    remove(scene.image, scene.alpha, filled=scene.image)  # whose imports are not the server's time
    tracemalloc.start()
    begin_s = time.monotonic()
    try:
        with pytest.raises(ServerError, match=match) as told:
            remove(scene.image, scene.alpha, inpainter=inpainter)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begin_s < TIMEOUT_S + 2
    assert "\n" not in str(told.value) and "no server answers" not in str(told.value)


def test_an_honest_answer_is_taken(scene, serve) -> None:
    def honest(link: socket.socket) -> None:
        whole(png(scene.image.shape[1], scene.image.shape[0]))(link)

    inpainter = ServerInpainter(serve(honest), timeout_s=TIMEOUT_S)
    filled = inpainter.fill(scene.image, scene.alpha > 0.5)
    assert np.array_equal(filled[scene.alpha > 0.5], np.zeros_like(filled)[scene.alpha > 0.5])


@pytest.mark.parametrize("is_plain", [False, True])
def test_an_image_sent_back_as_it_was_is_no_fill(scene, serve, is_plain: bool) -> None:
    image = np.full_like(scene.image, 90) if is_plain else scene.image
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "PNG")
    inpainter = ServerInpainter(serve(whole(stream.getvalue())), timeout_s=TIMEOUT_S)
    if is_plain:  # what a good filler would make of it, too
        assert np.array_equal(inpainter.fill(image, scene.alpha > 0.5), image)
    else:
        with pytest.raises(ServerError, match="nothing was repainted"):
            inpainter.fill(image, scene.alpha > 0.5)
