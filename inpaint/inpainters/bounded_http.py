"""HTTP requests whose answers are bounded in size and in total time, whatever the server does."""

import contextlib
import http.client
import socket
import threading
import time
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 16
FAULT_BYTES = 300
"""How much of a fault's text is shown."""


class Unreachable(Exception):
    """Nothing listens there."""


class BadAnswer(Exception):
    """The server broke off, took too long, or sent too much."""


class RefusedRequest(BadAnswer):
    """The server answered, with a fault."""


def ask_bounded(
    url: str, body: bytes | None = None, content_type: str = "", *, timeout_s: float, limit_bytes: int
) -> bytes:
    """Send a GET, or with a body a POST, and read the answer; redirections are not followed.

    Args:
        url: http or https.
        timeout_s: longest time from the first byte sent to the last one read [s].
        limit_bytes: largest answer.

    Raises:
        Unreachable: no connection came about.
        RefusedRequest: the status is not one of success.
        BadAnswer: the connection broke, the time was up, or the answer is too large.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    deadline_s = time.monotonic() + timeout_s
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        connection.connect()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    # A server that drips never lets a socket's own timeout pass: the deadline shuts the socket from outside.
    link = connection.sock
    watch = threading.Timer(max(0.0, deadline_s - time.monotonic()), _shut, [link])
    watch.daemon = True
    watch.start()
    opened: list[http.client.HTTPResponse] = []
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": content_type} if content_type else {}
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it had read all
        response = connection.getresponse()
        opened.append(response)
        if not 200 <= response.status < 300:
            said = " ".join(response.read(FAULT_BYTES).decode(errors="replace").split())
            raise RefusedRequest(f"answers {response.status}: {said or response.reason}")
        answer = bytearray()
        while chunk := response.read(CHUNK_BYTES):
            answer += chunk
            if len(answer) > limit_bytes:
                raise BadAnswer(f"answered with more than {limit_bytes} bytes, which no answer needs: it was cut off")
        if response.length:
            raise http.client.IncompleteRead(bytes(answer[:0]), response.length)
        if time.monotonic() >= deadline_s:
            raise TimeoutError
        return bytes(answer)
    except BadAnswer:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, TimeoutError) or time.monotonic() >= deadline_s:
            raise BadAnswer(f"did not answer within {timeout_s:g} s") from error
        said = " ".join(str(error).split()) or type(error).__name__
        raise BadAnswer(f"broke the connection off ({said}): look at the server's own log") from error
    finally:
        watch.cancel()
        for response in opened:
            response.close()
        connection.close()


def _shut(link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
