"""Fetching against a server on this machine that cuts, lies and refuses."""

import dataclasses
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from zim_plugins.core.checkpoints import cache as download
from zim_plugins.core.checkpoints import records as checkpoints
from zim_plugins.core.checkpoints.records import CHECKPOINTS, CheckpointFile
from zim_plugins.errors import CheckpointError

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every path; `cut_bytes` ends each answer early, `ranges` switches resuming off."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut_bytes: int | None = None
        self.ranges = True
        self.status = 200
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        if asked and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(server.content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200)
        rest = server.content[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest if server.cut_bytes is None else rest[: server.cut_bytes])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with empty caches."""
    for name in ("HF_HUB_OFFLINE", "ZIM_PLUGINS_OFFLINE", "HF_ENDPOINT", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("ZIM_PLUGINS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def record_for(server: Server, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Let `sam_vit_b` be the file of the local server."""
    file = CheckpointFile("weights.bin", server.url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    record = dataclasses.replace(CHECKPOINTS["sam_vit_b"], files=(dataclasses.replace(file, **changes),))
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", MappingProxyType({**CHECKPOINTS, "sam_vit_b": record}))


def test_fetch_brings_the_file_and_says_the_licence(server, home, monkeypatch, caplog):
    record_for(server, monkeypatch)
    assert checkpoints.find("sam_vit_b") is None
    path = checkpoints.fetch("sam_vit_b", progress=False)
    assert path == home / "sam_vit_b" / "weights.bin"
    assert path.read_bytes() == CONTENT
    assert "Apache-2.0" in caplog.text
    assert not list(home.rglob("*.part"))
    assert checkpoints.fetch("sam_vit_b") == checkpoints.verify("sam_vit_b") == path
    assert len(server.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_transfer_resumes(server, home, monkeypatch, ranges):
    record_for(server, monkeypatch)
    server.cut_bytes = 100_000
    server.ranges = ranges
    if ranges:
        path = checkpoints.fetch("sam_vit_b", progress=False)
        assert server.asked == [None, "bytes=100000-", "bytes=200000-"]
    else:  # a server that always begins anew never gets there; what came is kept, and used once it answers whole
        with pytest.raises(CheckpointError, match="100000 of 300000 bytes are kept"):
            checkpoints.fetch("sam_vit_b", progress=False)
        assert (home / "sam_vit_b" / "weights.bin.part").stat().st_size == 100_000
        server.cut_bytes = None
        path = checkpoints.fetch("sam_vit_b", progress=False)
    assert path.read_bytes() == CONTENT


def test_a_second_command_continues_the_first(server, home, monkeypatch):
    record_for(server, monkeypatch)
    part = home / "sam_vit_b" / "weights.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:123_456])
    assert checkpoints.fetch("sam_vit_b", progress=False).read_bytes() == CONTENT
    assert server.asked == ["bytes=123456-"]


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"sha256": "abcdef12"}])
def test_wrong_digest_is_refused_and_nothing_is_left(server, home, monkeypatch, changes):
    record_for(server, monkeypatch, **changes)
    with pytest.raises(CheckpointError, match="not the expected file"):
        checkpoints.fetch("sam_vit_b", progress=False)
    assert not [p for p in home.rglob("weights.bin*") if p.suffix != ".lock"]


def test_a_file_longer_than_expected_is_refused(server, home, monkeypatch):
    record_for(server, monkeypatch, size_bytes=len(CONTENT) - 1)
    with pytest.raises(CheckpointError, match="bytes where"):
        checkpoints.fetch("sam_vit_b", progress=False)
    assert not (home / "sam_vit_b" / "weights.bin").exists()


def test_known_beginning_of_a_digest_is_compared_and_admitted(server, monkeypatch, caplog):
    record_for(server, monkeypatch, sha256=hashlib.sha256(CONTENT).hexdigest()[:8])
    checkpoints.fetch("sam_vit_b", progress=False)
    assert "first 8 digits of its sha256" in caplog.text


def test_refusal_of_the_server_is_an_error(server, monkeypatch):
    record_for(server, monkeypatch)
    server.status = 404
    with pytest.raises(CheckpointError, match="404"):
        checkpoints.fetch("sam_vit_b", progress=False)
    assert len(server.asked) == 1


def test_no_room_on_the_disk_is_said_before_fetching(server, monkeypatch):
    record_for(server, monkeypatch, size_bytes=10**18)
    with pytest.raises(CheckpointError, match="make room or set ZIM_PLUGINS_HOME"):
        checkpoints.fetch("sam_vit_b", progress=False)
    assert server.asked == []


@pytest.mark.parametrize("variable", download.OFFLINE_VARIABLES)
def test_offline_says_the_command_and_asks_nobody(server, monkeypatch, variable):
    record_for(server, monkeypatch)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(CheckpointError, match=r"zim models --download sam_vit_b"):
        checkpoints.fetch("sam_vit_b", progress=False)
    assert server.asked == []


def test_missing_and_damaged_say_the_command(server, home, monkeypatch):
    record_for(server, monkeypatch)
    with pytest.raises(CheckpointError, match=r"not on this machine.*zim models --download sam_vit_b"):
        checkpoints.require("sam_vit_b")
    path = home / "sam_vit_b" / "weights.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(CheckpointError, match=r"damaged.*zim models --download sam_vit_b"):
        checkpoints.require("sam_vit_b")
    path.write_bytes(b"x" * len(CONTENT))  # right size, wrong content: only `verify` reads it
    assert checkpoints.require("sam_vit_b") == path
    with pytest.raises(CheckpointError, match=r"sha256.*zim models --download sam_vit_b"):
        checkpoints.verify("sam_vit_b")


def test_weights_in_hugging_face_and_torch_caches_are_found(tmp_path, server, monkeypatch):
    record_for(server, monkeypatch)
    cached = tmp_path / "torch_home" / "hub" / "checkpoints" / "weights.bin"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    assert checkpoints.find("sam_vit_b") == cached

    small = tuple(dataclasses.replace(file, size_bytes=3) for file in CHECKPOINTS["zim_vit_b"].files)
    record = dataclasses.replace(CHECKPOINTS["zim_vit_b"], files=small)
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", MappingProxyType({**CHECKPOINTS, "zim_vit_b": record}))
    folder = tmp_path / "hf_home/hub/models--naver-iv--zim-anything-vitb/snapshots/0301cdd/zim_vit_b_2043"
    folder.mkdir(parents=True)
    (folder / "encoder.onnx").write_bytes(b"abc")
    assert checkpoints.find("zim_vit_b") is None
    (folder / "decoder.onnx").write_bytes(b"abc")
    assert checkpoints.find("zim_vit_b") == folder


def test_records_are_complete(monkeypatch):
    assert set(CHECKPOINTS) == {"zim_tiny", "zim_vit_b", "zim_vit_l", "sam_vit_b", "sam_vit_l", "sam_vit_h"}
    for record in CHECKPOINTS.values():
        assert record.licence
        assert record.is_shipped == (record.name == "zim_tiny")
        for file in record.files:
            assert re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{64}", file.sha256)
            assert file.address.startswith("https://")
            assert file.size_bytes > 10_000_000
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert CHECKPOINTS["zim_vit_l"].files[0].address == (
        "https://mirror.example/naver-iv/zim-anything-vitl/resolve/main/zim_vit_l_2092/encoder.onnx"
    )


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'sam_vit_x'.*sam_vit_h"):
        checkpoints.find("sam_vit_x")


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert checkpoints.cache_folder() == tmp_path / "home"
    monkeypatch.delenv("ZIM_PLUGINS_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    assert checkpoints.cache_folder() == tmp_path / "xdg_cache_home" / "zim-plugins"
