"""A page to point at objects, and the same as a REST API: `zim serve`. Importing this package loads nothing heavy."""

from typing import TYPE_CHECKING

from zim_plugins.faces import lazy_face

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

__all__, __getattr__ = lazy_face(
    __name__,
    {
        "app": "create_app",
        "extensions": "Extension",
        "routes": "PROBLEMS body_schema media",
        "schemas": "Action ActionField Gallery ImageInfo ObjectPrompt ObjectsBody Opener",
        "services": "Services",
        "settings": "ServerSettings",
        "store": "OpenImage UnknownImage",
    },
)
