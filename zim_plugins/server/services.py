"""Services below the routes, the server's own and those of adapters: images, mattes, work off the event loop."""

import asyncio
import io
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from fastapi import Request, Response
from jaxtyping import Float32

from zim_plugins.core.predictor import Predictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.imaging.encode import write_raster
from zim_plugins.imaging.raster import Original, Raster
from zim_plugins.server.bodies import Model, read_body, read_files
from zim_plugins.server.engine import MattingEngine, PackedMatte, Quality
from zim_plugins.server.opening import open_image, preview_of, safe_name
from zim_plugins.server.schemas import ImageInfo
from zim_plugins.server.settings import ServerSettings
from zim_plugins.server.store import ImageStore, OpenImage
from zim_plugins.server.work import Busy, WorkQueue

T = TypeVar("T")
WORK_THREADS = 2


class Services:
    """The server's inside, for routes."""

    def __init__(self, predictor: Predictor, settings: ServerSettings) -> None:
        self.settings = settings
        self.engine = MattingEngine(predictor)
        self.store = ImageStore(settings.memory_bytes, settings.max_images)
        self._model_work = WorkQueue(1, max_waiting=settings.max_waiting, seconds=settings.work_seconds)
        self._encoding: set[asyncio.Task[None]] = set()
        self._other_work = WorkQueue(WORK_THREADS, max_waiting=settings.max_waiting, seconds=settings.work_seconds)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Return what a function returns, run off the event loop.

        Raises:
            Busy: too much waits already, or it took too long.
        """
        return await self._other_work.run(function, *args)

    async def read_body(
        self, request: Request, model: type[Model], *, files: Sequence[str] = ()
    ) -> tuple[Model, dict[str, bytes]]:
        """Read a body as JSON or as a form; see `bodies.read_body`."""
        return await read_body(request, model, files=files)

    async def run_model(self, function: Callable[[Predictor], T]) -> T:
        """Return what a function makes of the model, alone with it on its thread.

        Raises:
            Busy: as `run`.
        """
        return await self._model_work.run(lambda: self.engine.lend(function))

    async def read_files(self, request: Request) -> list[tuple[str, bytes]]:
        """Return names and contents of all files of a form.

        Raises:
            HTTPException: it is no form, holds other fields, or no file.
        """
        return await read_files(request)

    def image(self, request: Request, image_id: str) -> OpenImage:
        """Return an image of the session that asks.

        Raises:
            UnknownImage, ImageGone: it has none of this identifier.
        """
        return self.store.get(self.session(request), image_id)

    async def open(self, request: Request, content: bytes, name: str) -> OpenImage:
        """Decode a file; it is not kept yet, see `keep`.

        Raises:
            ImageError: it cannot be read.
        """
        bounds = {"max_pixels": self.settings.max_pixels, "preview_px": self.settings.preview_px}
        return await self.run(lambda: open_image(content, name, self.session(request), **bounds))

    def hold(self, request: Request, original: Original, name: str) -> OpenImage:
        """Return an image that the server made itself; it is not kept yet."""
        preview = preview_of(original.rgb, self.settings.preview_px)
        return OpenImage(self.session(request), safe_name(name), original, preview)

    async def keep(self, image: OpenImage) -> ImageInfo:
        """Keep an image for its session, and begin to encode it.

        Raises:
            StoreFull: it is larger than all that may be kept.
        """
        evicted = self.store.add(image)
        await self.prepare(image)
        return self.info(image, evicted)

    async def prepare(self, image: OpenImage) -> None:
        """Encode an image in the background."""

        async def encode() -> None:
            try:
                await self._model_work.run(self.engine.prepare, image)
            except (Busy, ValueError, RuntimeError, MemoryError):
                return  # the first prompt encodes, and says what is wrong
            self.store.trim(image.id)

        task = asyncio.get_running_loop().create_task(encode())
        self._encoding.add(task)
        task.add_done_callback(self._encoding.discard)

    async def packed(self, image: OpenImage, prompts: Sequence[Prompt], quality: Quality) -> list[PackedMatte]:
        """Return one packed matte for each prompt."""
        found = await self._model_work.run(self.engine.mattes, image, prompts, quality)
        self.store.trim(image.id)
        return found

    async def mattes(self, image: OpenImage, prompts: Sequence[Prompt]) -> list[Float32[np.ndarray, "h w"]]:
        """Return one matte for each prompt, in [0, 1] at the image's own size."""
        packed = await self.packed(image, prompts, "full")
        return await self.run(lambda: [one.alpha() for one in packed])

    async def encoded(self, raster: Raster) -> tuple[bytes, str]:
        """Return the file of an image, PNG, or TIFF where PNG cannot hold its depth; and its media type."""
        buffer = io.BytesIO()
        await self.run(write_raster, buffer, raster)
        return buffer.getvalue(), "image/png" if raster.suffix == ".png" else "image/tiff"

    def info(self, image: OpenImage, evicted: Sequence[str] = ()) -> ImageInfo:
        """Describe an image."""
        return ImageInfo(
            id=image.id,
            name=image.name,
            width=image.size[1],
            height=image.size[0],
            preview_width=image.preview.shape[1],
            preview_height=image.preview.shape[0],
            notes=[*image.original.notes],
            evicted=[*evicted],
        )

    @staticmethod
    def session(request: Request) -> str:
        """Return whose request this is."""
        return request.scope["state"]["session"]

    @staticmethod
    def safe_name(name: str) -> str:
        """Return a client's file name without what is no letter of a name."""
        return safe_name(name)

    @staticmethod
    def said(warnings: Sequence[str]) -> dict[str, str]:
        """Return the header that carries warnings to the page."""
        return {"x-zim-warnings": json.dumps(warnings)}

    @staticmethod
    def file(content: bytes, media_type: str, name: str, **headers: str) -> Response:
        """Return an answer that a browser saves under `name` when asked to."""
        ascii_name = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in name)
        return Response(
            content,
            media_type=media_type,
            headers={"content-disposition": f'inline; filename="{ascii_name}"', **headers},
        )

    def close(self) -> bool:
        """Stop all work; return whether nothing runs any more."""
        return all([self._model_work.close(), self._other_work.close()])
