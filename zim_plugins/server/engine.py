"""Prompts to mattes for many images at once: each encoded once, answers kept, all on one thread."""

import json
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.encoding import EncodedImage, Predictor, encoding_predictor
from zim_plugins.core.prediction import Prediction
from zim_plugins.core.prompt import Prompt
from zim_plugins.imaging.geometry import paste, tight_box
from zim_plugins.imaging.ranges import from_unit, unit_values
from zim_plugins.server.store import OpenImage, array_bytes

T = TypeVar("T")
Quality = Literal["draft", "preview", "full"]
"""draft: the first pass on the preview, for a moving pointer; preview: all passes on it; full: on the image itself."""
KEPT_MATTES = 32
"""Mattes that are kept for one image."""


@dataclass(frozen=True, eq=False)
class PackedMatte:
    """A matte as it is kept: its window in 16 bits, compressed."""

    shape: tuple[int, int]
    window: tuple[int, int, int, int]
    """X1 Y1 X2 Y2 [px], exclusive at the far edge; all 0 where the matte is empty."""
    packed: np.ndarray
    score: float

    @classmethod
    def of(cls, prediction: Prediction) -> "PackedMatte":
        """Pack the best matte of a prediction."""
        alpha = prediction.alpha
        x1, y1, x2, y2 = tight_box(alpha != 0) or (0, 0, 0, 0)
        values = from_unit(alpha[y1:y2, x1:x2], np.uint16, halves_up=True)
        packed = np.frombuffer(zlib.compress(values.tobytes(), 1), np.uint8)
        return cls((alpha.shape[0], alpha.shape[1]), (x1, y1, x2, y2), packed, prediction.score)

    def alpha(self) -> Float32[np.ndarray, "h w"]:
        """Unpack the matte, to 1/65535."""
        x1, y1, x2, y2 = self.window
        values = np.frombuffer(zlib.decompress(self.packed.tobytes()), np.uint16).reshape(y2 - y1, x2 - x1)
        return paste(unit_values(values), self.window, self.shape)


@dataclass(frozen=True, eq=False)
class Encoded:
    """An encoded image and the memory that it takes; the model itself is shared."""

    image: EncodedImage
    nbytes: int
    """Of the encoding and of the copy of the image."""


class MattingEngine:
    """One model for all images; to be called from one thread at a time.

    Args:
        predictor: the model; one that has `encode` is shared by as many encoded images as are open, any other
            encodes again whenever the image changes.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = encoding_predictor(predictor)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.predictor.name

    def prepare(self, image: OpenImage) -> None:
        """Encode what the page shows of an image, so that the first prompt finds it done."""
        self._encoded(image, full=False)

    def mattes(self, image: OpenImage, prompts: Sequence[Prompt], quality: Quality = "full") -> list[PackedMatte]:
        """Matte each prompt; answers that are known already are not computed again.

        Args:
            prompts: in pixels of the image itself, whatever the quality.
            quality: of which size and with which passes.

        Raises:
            ValueError, UnsupportedPrompt: as `ImagePredictor.predict`.
        """
        known: OrderedDict[str, PackedMatte] = image.cache.setdefault("mattes", OrderedDict())
        for prompt in prompts:  # said of the image, whose pixels the client speaks of
            prompt.check_inside(image.size)
        found = []
        for prompt in prompts:
            key = f"{quality} {json.dumps(prompt.to_json())}"
            if prompt.alpha is not None:
                raise ValueError("a coarse matte is no prompt of the server: give clicks, scribbles or a box")
            if key not in known:
                known[key] = PackedMatte.of(self._predict(image, prompt, quality))
            known.move_to_end(key)
            found.append(known[key])
            while len(known) > KEPT_MATTES:
                known.popitem(last=False)
        return found

    def lend(self, function: Callable[[Predictor], T]) -> T:
        """Return what a function makes of the model, which may be left with any image set."""
        return function(self.predictor)

    def _predict(self, image: OpenImage, prompt: Prompt, quality: Quality) -> Prediction:
        full = quality == "full"
        asked = prompt if full else scaled(prompt, image)
        encoded = self._encoded(image, full=full)
        return self.predictor.predict_many([asked], finished=quality != "draft", encoded=encoded)[0]

    def _encoded(self, image: OpenImage, *, full: bool) -> EncodedImage:
        """The image, or its preview, encoded once."""
        full, pixels = _pixels(image, full)
        key = "full" if full else "preview"
        if key not in image.cache:
            encoded = self.predictor.encode(pixels)
            image.cache[key] = Encoded(encoded, array_bytes(encoded.features) + encoded.rgb.nbytes)
        return image.cache[key].image


def _pixels(image: OpenImage, full: bool) -> tuple[bool, UInt8[np.ndarray, "h w 3"]]:
    """Return whether the image itself is meant, and the pixels; where it is its own preview, that is meant."""
    full = full and image.scale < 1
    return full, image.original.rgb if full or image.scale == 1 else image.preview


def scaled(prompt: Prompt, image: OpenImage) -> Prompt:
    """Return a prompt of the image in pixels of its preview."""
    height, width = image.preview.shape[:2]
    by = np.array([width / image.size[1], height / image.size[0]])
    return Prompt(
        points=None if prompt.points is None else np.clip(prompt.points * by, 0, [width, height]),
        labels=prompt.labels,
        box=None if prompt.box is None else prompt.box * np.tile(by, 2),
    )
