"""`zim serve` as a process: what it refuses, what it prints, how it stops."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'zim-plugins[serve]'")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'zim-plugins[serve]'")

from zim_plugins.cli import main
from zim_plugins.cli.commands.serve import ServeArgs, is_loopback, make_settings, page_address
from zim_plugins.cli.runtime import Misuse
from zim_plugins.core.checkpoints.records import is_present


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "mattes.example"])
def test_others_are_let_in_with_a_token_only(host, monkeypatch, capsys):
    monkeypatch.delenv("ZIM_SERVE_TOKEN", raising=False)
    assert main(["serve", "--host", host]) == 2
    assert "--token" in capsys.readouterr().err
    settings = make_settings(ServeArgs(host=host, token="hush"))
    assert (settings.token, settings.takes_addresses) == ("hush", True)
    monkeypatch.setenv("ZIM_SERVE_TOKEN", "from the environment".replace(" ", "-"))
    assert make_settings(ServeArgs(host=host)).token == "from-the-environment"
    assert len(make_settings(ServeArgs(host=host, token="auto")).token or "") > 20


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback_needs_none(host, monkeypatch):
    monkeypatch.delenv("ZIM_SERVE_TOKEN", raising=False)
    settings = make_settings(ServeArgs(host=host))
    assert (settings.token, settings.takes_addresses, is_loopback(host)) == (None, False, True)


@pytest.mark.parametrize(
    "options",
    [
        *({"token": text} for text in ("", "a b", "ä")),
        *({"port": number} for number in (-1, 65536)),
        {"memory_mb": 0},
        {"max_upload_mb": -3},
    ],
)
def test_misuse(options):
    with pytest.raises(Misuse):
        make_settings(ServeArgs(**options))


def test_addresses():
    assert page_address("127.0.0.1", 80, None) == "http://127.0.0.1:80/"
    assert page_address("::1", 80, "x") == "http://[::1]:80/?token=x"


def test_a_taken_port_is_told_in_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "--port 0" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not is_present("zim_tiny"), reason="zim_tiny is not in this checkout")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serves_and_stops_cleanly(stop):
    command = [
        sys.executable,
        "-m",
        "zim_plugins.cli",
        "serve",
        "--port",
        "0",
        "--model",
        "zim_tiny",
        "--device",
        "cpu",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+/", line)
            assert address, line
            said = None
            for _ in range(100):
                try:
                    with urllib.request.urlopen(address[0] + "api/info", timeout=10) as answer:
                        said = json.load(answer)
                    break
                except urllib.error.URLError:
                    time.sleep(0.1)
            assert said is not None and said["model"] == "zim_tiny"
            # A keep-alive connection and half a request do not hold it up.
            with socket.create_connection(("127.0.0.1", int(address[0].rsplit(":", 1)[1][:-1]))) as idle:
                idle.sendall(b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx")
                time.sleep(0.2)
                server.send_signal(stop)
                assert server.wait(20) == 0
            assert "Traceback" not in server.stderr.read()
        finally:
            server.kill()
