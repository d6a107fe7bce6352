"""A page to point at objects, and the same as a REST API: `zim serve`. Importing this package loads nothing heavy."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zim_plugins.server.app import create_app as create_app
    from zim_plugins.server.extensions import Extension as Extension
    from zim_plugins.server.routes import PROBLEMS as PROBLEMS
    from zim_plugins.server.routes import body_schema as body_schema
    from zim_plugins.server.routes import media as media
    from zim_plugins.server.schemas import Action as Action
    from zim_plugins.server.schemas import ActionField as ActionField
    from zim_plugins.server.schemas import Gallery as Gallery
    from zim_plugins.server.schemas import ImageInfo as ImageInfo
    from zim_plugins.server.schemas import ObjectPrompt as ObjectPrompt
    from zim_plugins.server.schemas import ObjectsBody as ObjectsBody
    from zim_plugins.server.schemas import Opener as Opener
    from zim_plugins.server.services import Services as Services
    from zim_plugins.server.settings import ServerSettings as ServerSettings
    from zim_plugins.server.store import OpenImage as OpenImage
    from zim_plugins.server.store import UnknownImage as UnknownImage

_HOME = {
    "Action": "schemas",
    "ActionField": "schemas",
    "Extension": "extensions",
    "Gallery": "schemas",
    "ImageInfo": "schemas",
    "ObjectPrompt": "schemas",
    "ObjectsBody": "schemas",
    "OpenImage": "store",
    "Opener": "schemas",
    "PROBLEMS": "routes",
    "ServerSettings": "settings",
    "Services": "services",
    "UnknownImage": "store",
    "body_schema": "routes",
    "create_app": "app",
    "media": "routes",
}

__all__ = [
    "Action",
    "ActionField",
    "Extension",
    "Gallery",
    "ImageInfo",
    "ObjectPrompt",
    "ObjectsBody",
    "OpenImage",
    "Opener",
    "PROBLEMS",
    "ServerSettings",
    "Services",
    "UnknownImage",
    "body_schema",
    "create_app",
    "media",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
