"""CLIP scores of a removal, with the model from a local folder: is the object still seen?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from zim_plugins.core import MissingExtra

CLIP_RANKS = (1, 3, 5)
FRAME_PX = 256
"""Side of the square that images are brought to first, as in Inst-Inpaint's evaluation [px]."""
PROMPT = "a photo of a {}"


@dataclass(frozen=True)
class ClipScores:
    """Scores of one removal."""

    gone: dict[int, bool]
    """For k of 1, 3, 5: the class that CLIP sees in the source's crop is not among the k best of the result's crop."""
    distance: float
    """1 - cosine of the two crops' embeddings: 0 unchanged; garbage is rewarded too, so it never stands alone."""
    text_drop: float | None
    """By how much the cosine with "a photo of a CATEGORY" falls; None where the category is unknown."""


class Clip:
    """CLIP as transformers has it.

    Accuracy follows Inst-Inpaint (Yildirim et al. 2023): images are cropped to their central square and brought to
    256 px, the object's box is cut out and padded with black to a square; classes are all categories of the test set,
    as "a photo of a CLASS". CLIP@k is the share of samples whose source class is not among the result's k best:
    higher is better. No definition of CLIP distance was published with it; here it is 1 - cosine of the same two crops.

    Args:
        folder: of a CLIP model and its processor (ViT-B/32 for published figures).
        categories: all categories of the test set.

    Raises:
        FileNotFoundError: there is no such folder.
        MissingExtra: transformers is not installed.
        ValueError: the folder holds no CLIP model.
    """

    def __init__(self, folder: Path, categories: Sequence[str]) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"CLIP needs a local folder of a transformers CLIP model; {folder} is none")
        try:
            from transformers import CLIPModel, CLIPProcessor
        except ImportError as error:
            raise MissingExtra("transformers", "diffusion") from error
        try:
            self._model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
            self._processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{folder} holds no CLIP model and processor: {' '.join(str(error).split())}") from error
        self.categories = sorted(set(categories) - {""})
        self._texts = self._embed_texts(self.categories) if self.categories else np.zeros((0, 0), np.float32)

    def score(
        self,
        source: UInt8[np.ndarray, "h w 3"],
        result: UInt8[np.ndarray, "h w 3"],
        box: Float[np.ndarray, " 4"],
        category: str = "",
    ) -> ClipScores | None:
        """Score one removal; None where the object's box lies outside the central square.

        Args:
            source: RGB, with the object.
            result: RGB, without it.
            box: of the object, X1 Y1 X2 Y2 [px].
            category: of the object.
        """
        before, after = object_crop(source, box), object_crop(result, box)
        if before is None or after is None:
            return None
        seen, left = self._embed_images([before, after])
        gone = {}
        if self.categories:
            chosen = int((self._texts @ seen).argmax())
            ranked = np.argsort(-(self._texts @ left), kind="stable")
            gone = {k: chosen not in ranked[:k] for k in CLIP_RANKS if k < len(self.categories)}
        drop = None
        if category in self.categories:
            text = self._texts[self.categories.index(category)]
            drop = float(text @ seen - text @ left)
        return ClipScores(gone, float(1.0 - seen @ left), drop)

    def _embed_texts(self, categories: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        import torch

        texts = [PROMPT.format(c) for c in categories]
        inputs = self._processor(text=texts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            outputs = self._model.text_model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            return _unit(self._model.text_projection(outputs.pooler_output).numpy())

    def _embed_images(self, images: Sequence[UInt8[np.ndarray, "s s 3"]]) -> Float32[np.ndarray, "n d"]:
        import torch
        from PIL import Image

        # One after the other: they differ in size.
        pixels = [self._processor(images=Image.fromarray(p), return_tensors="pt")["pixel_values"][0] for p in images]
        with torch.inference_mode():
            outputs = self._model.vision_model(pixel_values=torch.stack(pixels))
            return _unit(self._model.visual_projection(outputs.pooler_output).numpy())


def object_crop(image: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, " 4"]) -> UInt8[np.ndarray, "s s 3"] | None:
    """Cut the object's box out of the central square at 256 px, padded with black to a square; None where it is empty.

    Args:
        image: RGB.
        box: X1 Y1 X2 Y2 [px] of the whole image.
    """
    from PIL import Image

    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    frame = np.asarray(square.resize((FRAME_PX, FRAME_PX), Image.Resampling.BICUBIC))
    x1, y1, x2, y2 = (np.asarray(box) - [left, top, left, top]) * (FRAME_PX / side)
    x1, y1 = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    x2, y2 = min(FRAME_PX, int(np.ceil(x2))), min(FRAME_PX, int(np.ceil(y2)))
    if x1 >= x2 or y1 >= y2:
        return None
    longer = max(x2 - x1, y2 - y1)
    padded = np.zeros((longer, longer, 3), np.uint8)
    dy, dx = (longer - (y2 - y1)) // 2, (longer - (x2 - x1)) // 2
    padded[dy : dy + y2 - y1, dx : dx + x2 - x1] = frame[y1:y2, x1:x2]
    return padded


def _unit(rows: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
