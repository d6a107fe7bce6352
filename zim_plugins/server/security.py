"""Access and its limits, checked before any route sees a request."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.exceptions import HTTPException

from zim_plugins.server.settings import ServerSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOOPBACK_NAMES = ("localhost",)
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Of every answer: the page loads nothing from elsewhere, and nobody else's page loads ours."""


class Guard:
    """ASGI middleware: names of the host, origins, the token, the session, the size and pace of bodies."""

    def __init__(self, app: Callable[..., Awaitable[None]], settings: ServerSettings) -> None:
        self.app = app
        self.settings = settings
        self._key = secrets.token_bytes(32)
        self._session_cookie = f"zim_session{settings.cookie_suffix}"
        self._token_cookie = f"zim_token{settings.cookie_suffix}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on with `scope["state"]["session"]`."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        cookies = _cookies(headers.get("cookie", ""))
        refusal = self._refusal(scope, headers, cookies)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        session = self._known_session(cookies.get(self._session_cookie, ""))
        added: list[tuple[bytes, bytes]] = []
        if session is None:
            session = secrets.token_urlsafe(18)
            added.append(self._cookie(self._session_cookie, f"{session}.{self._sign(session)}"))
        scope.setdefault("state", {})["session"] = session

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message.get("headers", []) if k.decode("latin-1").lower() not in HEADERS]
                kept += [(key.encode(), value.encode()) for key, value in HEADERS.items()] + added
                if scope["path"].startswith("/api"):
                    kept.append((b"cache-control", b"no-store"))
                message = {**message, "headers": kept}
            await send(message)

        await self.app(scope, self._bounded(receive), send_guarded)

    def _refusal(self, scope: Scope, headers: dict[str, str], cookies: dict[str, str]) -> "Refusal | None":
        """Status, reason and further headers of a refusal; None where the request may pass."""
        host = headers.get("host", "")
        if not self.is_own_host(host):
            return 403, f"this server does not go by the name {host[:100]!r}: see --allow-host", ()
        site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
        opens_page = scope["method"] in ("GET", "HEAD") and scope["path"] == "/"
        if origin is not None and urlsplit_or_none(origin) != host.lower():
            return 403, "requests from another site's page are not answered", ()
        if site not in ("none", "same-origin") and not opens_page:
            return 403, "requests from another site's page are not answered", ()
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            return 400, "the content length is no number", ()
        if int(length[:20]) > self.settings.max_upload_bytes:
            return 413, self._too_large(), ()
        return self._token_refusal(scope, headers, cookies)

    def _token_refusal(self, scope: Scope, headers: dict[str, str], cookies: dict[str, str]) -> "Refusal | None":
        token = self.settings.token
        if token is None:
            return None
        kind, _, shown = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(shown.strip(), token):
            return None
        if _same(cookies.get(self._token_cookie, ""), _token_digest(token)):
            return None
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=16)
        if scope["method"] == "GET" and scope["path"] == "/" and _same(query.pop("token", [""])[0], token):
            # Out of the address bar, the history and the referrer.
            rest = urlencode(query, doseq=True)
            place = b"/" + (f"?{rest}".encode() if rest else b"")
            return 303, "", (self._cookie(self._token_cookie, _token_digest(token)), (b"location", place))
        return (
            401,
            "this server asks for its token: open /?token=TOKEN, or send Authorization: Bearer TOKEN",
            ((b"www-authenticate", b"Bearer"),),
        )

    def is_own_host(self, header: str) -> bool:
        """Return whether a Host header names this server; a rebound DNS name does not."""
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        if not header or "@" in header or "/" in header:
            return False
        if name in LOOPBACK_NAMES or name in self.settings.hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.settings.takes_addresses

    def _bounded(self, receive: Receive) -> Receive:
        """Receive a body no longer, and no slower, than is allowed."""
        received, is_complete = 0, False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.upload_seconds

        async def receive_bounded() -> Message:
            nonlocal received, is_complete
            if is_complete:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.001, deadline - loop.time()))
            except asyncio.TimeoutError:
                seconds = self.settings.upload_seconds
                raise HTTPException(408, f"the body did not arrive within {seconds:g} s") from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                is_complete = not message.get("more_body", False)
                if received > self.settings.max_upload_bytes:
                    raise HTTPException(413, self._too_large())
            return message

        return receive_bounded

    def _too_large(self) -> str:
        return f"the body is larger than {self.settings.max_upload_bytes >> 20} MiB: see --max-upload-mb"

    def _known_session(self, cookie: str) -> str | None:
        session, _, signature = cookie.partition(".")
        return session if session and _same(signature, self._sign(session)) else None

    def _sign(self, session: str) -> str:
        digest = hmac.new(self._key, session.encode("utf-8"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest[:18]).decode("ascii")

    @staticmethod
    def _cookie(name: str, value: str) -> tuple[bytes, bytes]:
        return b"set-cookie", f"{name}={value}; Path=/; HttpOnly; SameSite=Strict".encode("ascii")


Refusal = tuple[int, str, Iterable[tuple[bytes, bytes]]]


def urlsplit_or_none(origin: str) -> str | None:
    """Return host and port of an origin in lower case; None where it is opaque or malformed."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8"))


def _token_digest(token: str) -> str:
    return hashlib.sha256(b"zim serve " + token.encode("utf-8")).hexdigest()


def _cookies(header: str) -> dict[str, str]:
    try:
        return {key: morsel.value for key, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}


async def _answer(send: Send, status: int, reason: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    body = json.dumps({"detail": reason}).encode("ascii") if reason else b""
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    own += [(key.encode(), value.encode()) for key, value in HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body})
