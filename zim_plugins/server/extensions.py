"""Adapters on the server: each registers routes by an entry point, and the page shows what it is told of them."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from fastapi import APIRouter

from zim_plugins.errors import ZimError
from zim_plugins.server.schemas import Action, Gallery, Opener

if TYPE_CHECKING:
    from zim_plugins.server.services import Services

logger = logging.getLogger(__name__)
ENTRY_POINT_GROUP = "zim_plugins.server"
"""Entry points of this group are functions that take `Services` and return an `Extension`."""
_FAULTS = (ZimError, ImportError, AttributeError, TypeError, ValueError, RuntimeError, OSError)


@dataclass(frozen=True, eq=False)
class Extension:
    """Routes that an adapter adds to the server."""

    name: str
    router: APIRouter
    """Routes, all below /api/."""
    actions: tuple[Action, ...] = ()
    """What the page offers for the objects of an image."""
    openers: tuple[Opener, ...] = ()
    """Files that the page hands over as a series of images."""
    galleries: tuple[Gallery, ...] = ()
    """Finished work in the server's folders that the page shows."""


Register = Callable[["Services"], Extension]


def installed_extensions() -> tuple[list[Register], list[str]]:
    """Load the functions of all entry points; a broken one is named with its reason, and the others go on."""
    found: list[Register] = []
    broken: list[str] = []
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda one: one.name):
        try:
            found.append(point.load())
        except _FAULTS as error:
            broken.append(f"{point.name}: {' '.join(str(error).split()) or type(error).__name__}")
    return found, broken


def register_all(registers: Iterable[Register], services: "Services") -> tuple[list[Extension], list[str]]:
    """Call each adapter's function; return what they add, and what failed with its reason."""
    extensions: list[Extension] = []
    broken: list[str] = []
    for register in registers:
        try:
            extensions.append(register(services))
        except _FAULTS as error:
            name = getattr(register, "__module__", "?")
            broken.append(f"{name}: {' '.join(str(error).split()) or type(error).__name__}")
    for line in broken:
        logger.warning("left out: %s", line)
    return extensions, broken
