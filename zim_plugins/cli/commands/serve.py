"""`zim serve`: a page in the browser to point at objects, and the same as a REST API."""

import dataclasses
import ipaddress
import logging
import os
import secrets
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from zim_plugins.cli.runtime import DONE, CommandArgs, Misuse
from zim_plugins.errors import MissingExtra

if TYPE_CHECKING:
    from zim_plugins.server.settings import ServerSettings

logger = logging.getLogger(__name__)
TOKEN_VARIABLE = "ZIM_SERVE_TOKEN"
GRACE_SECONDS = 3


@dataclass(frozen=True)
class ServeArgs(CommandArgs):
    """Open a local page to click on images, with a REST API behind it; Ctrl-C stops it."""

    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address to listen on. Any but the loopback ones can be reached by others, and needs --token."""
    port: Annotated[int, arg(metavar="N")] = 8000
    """Port to listen on; 0 takes a free one."""
    token: Annotated[str | None, arg(metavar="SECRET")] = None
    """Secret that browsers and programs must show; auto makes one. The variable ZIM_SERVE_TOKEN does the same and
    is not seen in the list of processes."""
    allow_host: UseAppendAction[Annotated[tuple[str, ...], arg(metavar="NAME")]] = ()
    """A further name by which browsers may call this server, such as that of a proxy. Repeatable."""
    model: Annotated[str, arg(metavar="NAME")] = "auto"
    """Checkpoint by name (see `zim models`) or path; auto takes the best one on this machine."""
    runtime: Literal["auto", "torch", "onnx"] = "auto"
    """What runs the model."""
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the model."""
    max_upload_mb: Annotated[int, arg(metavar="N")] = 96
    """Largest upload [MiB]."""
    max_megapixels: Annotated[float, arg(metavar="N")] = 50.0
    """Largest image, refused from its header."""
    memory_mb: Annotated[int, arg(metavar="N")] = 1024
    """Memory for open images [MiB]; those used longest ago are let go."""
    folder: UseAppendAction[Annotated[tuple[Path, ...], arg(metavar="DIR")]] = ()
    """Folder whose finished work is shown on the page, and read only: a run of `ns-train sa3d-zim` or `zim-splat`, or
    the folder that holds such runs. Repeatable; no other folder of this machine is read."""
    open: bool = False
    """Open the page in this machine's browser."""


def main(args: ServeArgs) -> int:
    """Load the model, listen, and serve until interrupted."""
    settings = make_settings(args)
    try:
        import uvicorn

        from zim_plugins.server.app import create_app
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi and uvicorn", "serve") from error
    from zim_plugins.core.load import load_predictor

    with listen(args.host, args.port) as listener:
        predictor = load_predictor(args.model, runtime=args.runtime, device=args.device, dtype=args.dtype)
        port = listener.getsockname()[1]
        app = create_app(predictor, dataclasses.replace(settings, cookie_suffix=f"_{port}"))
        address = page_address(args.host, port, settings.token)
        config = uvicorn.Config(
            app,
            log_level="debug" if args.debug else "warning",
            access_log=args.debug,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=256,
            timeout_keep_alive=20,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = uvicorn.Server(config)
        previous = signal.signal(signal.SIGTERM, _interrupt)
        print(f"{predictor.name} is ready: {address} (Ctrl-C stops)", flush=True)
        if args.open:
            import webbrowser

            webbrowser.open(address)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            logger.info("stopped")
        finally:
            signal.signal(signal.SIGTERM, previous)
    return DONE


def make_settings(args: ServeArgs) -> "ServerSettings":
    """Return the server's bounds.

    Raises:
        Misuse: the arguments make no sense, or would let anybody in.
    """
    from zim_plugins.server.settings import MEBIBYTE, ServerSettings

    for name in ("max_upload_mb", "max_megapixels", "memory_mb"):
        if not 0 < getattr(args, name) < 1e6:
            raise Misuse(f"--{name.replace('_', '-')} is above 0, got {getattr(args, name)}")
    if not 0 <= args.port < 65536:
        raise Misuse(f"--port is 0 to 65535, got {args.port}")
    token = args.token if args.token is not None else os.environ.get(TOKEN_VARIABLE)
    if token == "auto":
        token = secrets.token_urlsafe(16)
    if token is not None and (not token or not token.isascii() or not token.isprintable() or " " in token):
        raise Misuse("--token is letters, digits and signs without spaces, and not empty")
    is_local = is_loopback(args.host)
    if not is_local and token is None:
        raise Misuse(
            f"--host {args.host} can be reached from other machines: give --token SECRET, --token auto, or set "
            f"{TOKEN_VARIABLE}; behind a proxy or an ssh tunnel leave --host out"
        )
    hosts = [name.lower() for name in args.allow_host]
    if not is_local:
        hosts += [args.host.lower(), socket.gethostname().lower()]
    for folder in args.folder:
        if not folder.is_dir():
            raise Misuse(f"--folder {folder} is no folder: name a finished run, or the folder that holds some")
    return ServerSettings(
        folders=tuple(folder.resolve() for folder in args.folder),
        token=token,
        hosts=tuple(hosts),
        takes_addresses=not is_local,
        max_upload_bytes=args.max_upload_mb * MEBIBYTE,
        max_pixels=int(args.max_megapixels * 1e6),
        memory_bytes=args.memory_mb * MEBIBYTE,
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, True, False)
    """
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        Misuse: the address is none of this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise Misuse(
            f"cannot listen on {host} port {port}: {error.strerror or error}; --port 0 takes a free one"
        ) from error
    return listener


def page_address(host: str, port: int, token: str | None) -> str:
    """Return what to open in a browser."""
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    if ":" in shown:
        shown = f"[{shown}]"
    return f"http://{shown}:{port}/" + ("" if token is None else f"?token={token}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
