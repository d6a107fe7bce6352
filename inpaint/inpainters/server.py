"""A running lama-cleaner or IOPaint server as a filler, through its HTTP interface."""

import base64
import copy
import io
import json
import struct
import uuid
import warnings
import zlib
from collections.abc import Mapping

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from zim_plugins.core import UnsupportedPrompt, ZimError
from zim_plugins.imaging import from_unit

from .base import Change, FillSettings, Hole, Rgb, paste, refuse_a_full_hole, refuse_settings
from .bounded_http import BadAnswer, RefusedRequest, Unreachable, ask_bounded

START = (
    "start one with `lama-cleaner --model lama --device cpu --port 8080` or `iopaint start --model lama --port 8080`"
)
DETECT_TIMEOUT_S = 10.0
"""Longest wait for a server to say what it is."""
FILL_TIMEOUT_S = 600.0
"""Longest wait for one fill: a diffusion model on a CPU takes minutes."""
SMALL_ANSWER_BYTES = 1 << 20
"""What a server may need to say what it is, and beyond the pixels of an image."""
BYTES_PER_PIXEL = 8
"""Of an answer: RGBA of 16 bits, not compressed at all."""
ANSWERS = ("PNG", "JPEG", "WEBP")
"""Formats in which a server may answer."""
DIFFUSION_STEPS, DIFFUSION_STRENGTH, DIFFUSION_GUIDANCE = 50, 1.0, 7.5
TEXT_MODELS = ("sd1.5", "sd2", "anything4", "realisticVision1.4")
"""Models of lama-cleaner that paint by a text."""


class ServerError(ZimError):
    """The server is not there, or could not do it; the message says which and what to do."""


class _Refused(ServerError):
    """The server answered, with a fault."""


class ServerInpainter:
    """Fill by the model that a lama-cleaner (1.x) or IOPaint (1.x) server runs.

    Which of the two it is is asked once. A server that runs a diffusion model follows a text. The image goes over the
    network as PNG, so nothing is lost. The server is not trusted: size, total time and type of its answers are bounded.

    Args:
        url: http(s)://host:port.
        settings: for a server with a diffusion model.
        timeout_s: longest wait for one fill [s].

    Raises:
        ServerError: nothing answers there, or it is neither of the two.
        UnsupportedPrompt: settings for a diffusion model, and the server runs none.
    """

    work_side_px: int | None = 1024

    def __init__(self, url: str, *, settings: FillSettings | None = None, timeout_s: float = FILL_TIMEOUT_S) -> None:
        self.name = url
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self.is_iopaint, self.model, self.takes_text = self._ask()
        self._settings = settings or FillSettings()
        if not self.takes_text:
            refuse_settings(self, self._settings)

    def with_settings(self, settings: FillSettings) -> "ServerInpainter":
        """The same server, asked with other settings."""
        other = copy.copy(self)
        other._settings = settings
        if not self.takes_text:
            refuse_settings(self, settings)
        return other

    def fill(self, image: Rgb, hole: Hole) -> Rgb:
        """Repaint the hole; see `Inpainter.fill`."""
        refuse_a_full_hole(hole)
        return self._fill(image, hole, "")

    def fill_guided(self, image: Rgb, hole: Hole, *, prompt: str = "", change: Change | None = None) -> Rgb:
        """Repaint the hole by a text; see `GuidedInpainter.fill_guided`. It takes no soft map."""
        if not self.takes_text:
            raise UnsupportedPrompt(
                f"the server at {self._url} runs {self.model}, which takes no text: start it with a diffusion model "
                "(lama-cleaner --model sd1.5, iopaint start --model stable-diffusion-v1-5/stable-diffusion-inpainting)"
            )
        if change is not None:
            raise UnsupportedPrompt("a server takes hard masks only: for a soft map use a local diffusion model")
        return self._fill(image, hole, prompt)

    def _fill(self, image: np.ndarray, hole: np.ndarray, prompt: str) -> np.ndarray:
        sent, mask = _png(image), _png(from_unit(hole))
        if self.is_iopaint:
            path, kind, body = "/api/v1/inpaint", "application/json", self._json(sent, mask, prompt)
        else:
            path = "/inpaint"
            kind, body = _multipart(self._form(prompt), {"image": sent, "mask": mask})
        limit = hole.size * BYTES_PER_PIXEL + SMALL_ANSWER_BYTES
        answer = self._request(path, body, kind, timeout_s=self._timeout_s, limit=limit)
        painted = _decoded(answer, (hole.shape[0], hole.shape[1]), self._url)
        before = image[hole]
        if (before != before[:1]).any() and np.array_equal(painted[hole], before):
            raise ServerError(f"{self._url} answered with the image as it was sent: nothing was repainted")
        return paste(image, painted, hole)

    def _ask(self) -> tuple[bool, str, bool]:
        """Return whether the server is IOPaint, its model's name, and whether that takes a text."""
        try:
            known = json.loads(self._request("/api/v1/model", timeout_s=DETECT_TIMEOUT_S, limit=SMALL_ANSWER_BYTES))
            return True, str(known["name"]), bool(known["need_prompt"])
        except (_Refused, ValueError, KeyError, TypeError, RecursionError):
            pass  # lama-cleaner knows no such address
        try:
            model = (
                self._request("/model", timeout_s=DETECT_TIMEOUT_S, limit=SMALL_ANSWER_BYTES).decode("ascii").strip()
            )
        except (_Refused, UnicodeDecodeError):
            model = ""
        if not model or "<" in model:
            raise ServerError(f"what answers at {self._url} is neither lama-cleaner nor IOPaint: {START}")
        return False, model, model in TEXT_MODELS

    def _json(self, image: bytes, mask: bytes, prompt: str) -> bytes:
        """IOPaint's InpaintRequest, as far as it differs from its defaults."""
        asked = self._settings
        return json.dumps(
            {
                "image": base64.b64encode(image).decode(),
                "mask": base64.b64encode(mask).decode(),
                "hd_strategy": "Original",
                "prompt": prompt,
                "negative_prompt": asked.negative_prompt,
                "sd_mask_blur": 0,
                "sd_seed": asked.seed,
                "sd_steps": asked.steps or DIFFUSION_STEPS,
                "sd_strength": asked.strength or DIFFUSION_STRENGTH,
                "sd_guidance_scale": DIFFUSION_GUIDANCE if asked.guidance is None else asked.guidance,
            }
        ).encode()

    def _form(self, prompt: str) -> dict[str, object]:
        """lama-cleaner's form, of which it misses every field that is left out."""
        asked = self._settings
        return {
            "ldmSteps": 1,
            "ldmSampler": "plms",
            "hdStrategy": "Original",
            "zitsWireframe": True,
            "hdStrategyCropMargin": 0,
            "hdStrategyCropTrigerSize": 0,
            "hdStrategyResizeLimit": 0,
            "prompt": prompt,
            "negativePrompt": asked.negative_prompt,
            "useCroper": False,
            "croperX": 0,
            "croperY": 0,
            "croperHeight": 0,
            "croperWidth": 0,
            "sdScale": 1.0,
            "sdMaskBlur": 0,
            "sdStrength": asked.strength or DIFFUSION_STRENGTH,
            "sdSteps": asked.steps or DIFFUSION_STEPS,
            "sdGuidanceScale": DIFFUSION_GUIDANCE if asked.guidance is None else asked.guidance,
            "sdSampler": "uni_pc",
            "sdSeed": asked.seed,
            "sdMatchHistograms": False,
            "cv2Flag": "INPAINT_NS",
            "cv2Radius": 4,
            "paintByExampleSteps": 1,
            "paintByExampleGuidanceScale": 0,
            "paintByExampleMaskBlur": 0,
            "paintByExampleSeed": asked.seed,
            "paintByExampleMatchHistograms": False,
            "p2pSteps": 1,
            "p2pImageGuidanceScale": 0,
            "p2pGuidanceScale": 0,
            "controlnet_conditioning_scale": 0,
            "controlnet_method": "control_v11p_sd15_canny",
        }

    def _request(self, path: str, body: bytes | None = None, kind: str = "", *, timeout_s: float, limit: int) -> bytes:
        try:
            return ask_bounded(self._url + path, body, kind, timeout_s=timeout_s, limit_bytes=limit)
        except Unreachable as error:
            raise ServerError(f"no server answers at {self._url} ({error}): {START}") from error
        except RefusedRequest as error:
            raise _Refused(f"{self._url}{path} {error}") from error
        except BadAnswer as error:
            raise ServerError(f"{self._url}{path} {error}") from error


def _decoded(answer: bytes, size: tuple[int, int], url: str) -> UInt8[np.ndarray, "h w 3"]:
    """The image that a server sent, decoded only if it has the size that was asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a bomb is told by its size, below
        try:
            with PIL.Image.open(io.BytesIO(answer), formats=ANSWERS) as image:
                if image.size != size[::-1]:
                    (width, height), (h, w) = image.size, size
                    raise ServerError(f"{url} answered with an image of {width}x{height} px, sent were {w}x{h} px")
                return np.asarray(image.convert("RGB"))
        except PIL.Image.DecompressionBombError as error:
            raise ServerError(f"{url} answered with an image of absurd size: {error}") from error
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError) as error:
            raise ServerError(f"{url} answered with something that is no image: {answer[:80]!r}") from error


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _multipart(fields: Mapping[str, object], files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """A form with PNG files in it: its content type, and its body (RFC 7578)."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, content in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.png"\r\n'
        parts += [head.encode(), b"Content-Type: image/png\r\n\r\n", content, b"\r\n"]
    return f"multipart/form-data; boundary={boundary}", b"".join([*parts, f"--{boundary}--\r\n".encode()])
