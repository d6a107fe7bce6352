"""Prompts to mattes for many images at once: each encoded once, answers kept, all on one thread."""

import json
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from zim_plugins.core.prediction import Prediction
from zim_plugins.core.predictor import ImagePredictor, Predictor
from zim_plugins.core.prompt import Prompt
from zim_plugins.server.store import OpenImage, array_bytes

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
        rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
        x1, y1, x2, y2 = (0, 0, 0, 0)
        if len(rows):
            x1, y1, x2, y2 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        values = (alpha[y1:y2, x1:x2] * np.float32(65535) + np.float32(0.5)).astype(np.uint16)
        packed = np.frombuffer(zlib.compress(values.tobytes(), 1), np.uint8)
        return cls((alpha.shape[0], alpha.shape[1]), (x1, y1, x2, y2), packed, prediction.score)

    def alpha(self) -> Float32[np.ndarray, "h w"]:
        """Unpack the matte, to 1/65535."""
        x1, y1, x2, y2 = self.window
        alpha = np.zeros(self.shape, np.float32)
        values = np.frombuffer(zlib.decompress(self.packed.tobytes()), np.uint16).reshape(y2 - y1, x2 - x1)
        alpha[y1:y2, x1:x2] = values / np.float32(65535)
        return alpha


@dataclass(frozen=True, eq=False)
class Encoded:
    """A predictor to which one image is set."""

    predictor: ImagePredictor
    nbytes: int
    """Memory of its encoding; the model itself is shared."""


class MattingEngine:
    """One model for all images; to be called from one thread at a time.

    Args:
        predictor: the model; an `ImagePredictor` is shared by as many encoded images as are open, any other
            `Predictor` encodes again whenever the image changes.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._shown: tuple[str, bool] | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return str(getattr(self.predictor, "name", type(self.predictor).__name__))

    def prepare(self, image: OpenImage) -> None:
        """Encode what the page shows of an image, so that the first prompt finds it done."""
        self._encoded(image, full=False)

    def mattes(self, image: OpenImage, prompts: Sequence[Prompt], quality: Quality = "full") -> list[PackedMatte]:
        """Matte each prompt; answers that are known already are not computed again.

        Args:
            image: what to matte.
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

    def _predict(self, image: OpenImage, prompt: Prompt, quality: Quality) -> Prediction:
        if quality == "full":
            return self._encoded(image, full=True).predict(prompt)
        predictor = self._encoded(image, full=False)
        if quality == "draft" and isinstance(predictor, ImagePredictor):
            zoom, refinement = predictor.zoom, predictor.refinement
            predictor.zoom = predictor.refinement = None
            try:
                return predictor.predict(scaled(prompt, image))
            finally:
                predictor.zoom, predictor.refinement = zoom, refinement
        return predictor.predict(scaled(prompt, image))

    def _encoded(self, image: OpenImage, *, full: bool) -> Predictor:
        """Predictor to which the image, or its preview, is set."""
        full = full and image.scale < 1  # one encoding where both are the same
        pixels = image.original.rgb if full or image.scale == 1 else image.preview
        if isinstance(self.predictor, ImagePredictor):
            key = "full" if full else "preview"
            if key not in image.cache:
                whole = self.predictor
                predictor = ImagePredictor(whole.backend, zoom=whole.zoom, refinement=whole.refinement)
                predictor.set_image(pixels)
                image.cache[key] = Encoded(predictor, array_bytes(predictor._embedding))
            return image.cache[key].predictor
        if self._shown != (image.id, full):
            self._shown = None
            self.predictor.set_image(pixels)
            self._shown = (image.id, full)
        return self.predictor


def scaled(prompt: Prompt, image: OpenImage) -> Prompt:
    """Return a prompt of the image in pixels of its preview."""
    height, width = image.preview.shape[:2]
    by = np.array([width / image.size[1], height / image.size[0]])
    return Prompt(
        points=None if prompt.points is None else np.clip(prompt.points * by, 0, [width, height]),
        labels=prompt.labels,
        box=None if prompt.box is None else prompt.box * np.tile(by, 2),
    )
