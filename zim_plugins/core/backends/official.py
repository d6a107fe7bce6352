"""The interface of ZIM's official file pair, whatever runs it: frame, tokens, attention mask, metadata.

Interface as read in the public release (naver-ai/ZIM, `zim_anything`); no torch is needed here.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from zim_plugins.core.prompt import Prompt
from zim_plugins.core.tokens import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, prompt_tokens
from zim_plugins.core.transforms import PIXEL_MEAN, PIXEL_STD
from zim_plugins.errors import UnsupportedPrompt

FRAME_PX = 1024
"""Side of the official frame."""
LOGITS_PX = 512
"""Side of the decoder's answer."""
MASK_GRID = 64
"""Cells of the attention mask along one side."""
MASK_SIGMA = 21.0
"""Standard deviation of a click's Gaussian in the attention mask, in cells."""
FEATURES = ("image_embeddings", "feat_D0", "feat_D1", "feat_D2")
"""What the encoder answers: the embedding at stride 16, then details at strides 2, 4 and 8."""
DECODER_INPUTS = ("feat_D0", "feat_D1", "feat_D2", "image_embeddings", "attn_mask", "point_coords", "point_labels")
DECODER_OUTPUTS = ("masks", "iou_predictions")
METADATA_PREFIX = "zim_plugins."
"""Of what our exporter writes into the files; the official ones say nothing of themselves."""
CLICKS_AND_BOX = METADATA_PREFIX + "clicks_and_box"

Tokens = tuple[Float32[np.ndarray, "_ 2"], Int[np.ndarray, " _"]]
"""Clicks and corners, XY [px of the frame], and their labels (2 and 3: a box's corners, -1: padding)."""
Decode = Callable[
    [Float32[np.ndarray, "b 64 64"], Float32[np.ndarray, "b n 2"], Int[np.ndarray, "b n"]],
    tuple[Float32[np.ndarray, "b 4 512 512"], Float32[np.ndarray, "b 4"]],
]
"""Attention mask, coordinates and labels to logits and scores, on the image that was encoded."""


def official_frame(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "1 3 1024 1024"]:
    """An RGB image, longest side 1024 px, standardised, then zero-padded to the right and below."""
    height, width = image.shape[:2]
    if max(height, width) != FRAME_PX:
        raise ValueError(f"the longest side must be {FRAME_PX} px, the image is {width}x{height} px")
    frame = np.zeros((1, 3, FRAME_PX, FRAME_PX), dtype=np.float32)
    standardised = (image - np.array(PIXEL_MEAN, np.float32)) / np.array(PIXEL_STD, np.float32)
    frame[0, :, :height, :width] = standardised.transpose(2, 0, 1)
    return frame


def official_tokens(prompt: Prompt, *, name: str, clicks_and_box: bool) -> Tokens:
    """Coordinates and labels of a prompt that the files can serve.

    Raises:
        UnsupportedPrompt: a coarse matte; clicks and a box together where the files do not carry both.
    """
    if prompt.alpha is not None:
        raise UnsupportedPrompt(f"{name} takes no coarse matte: give clicks or a box, or choose another model")
    if prompt.points is not None and prompt.box is not None and not clicks_and_box:
        raise UnsupportedPrompt(f"{name} takes clicks or a box, not both: leave one out, or choose another model")
    return prompt_tokens(prompt)


def decode_in_batches(
    tokens: Sequence[Tokens], run: Decode, *, batch: int, multimask: bool
) -> tuple[Float32[np.ndarray, "b c 512 512"], Float32[np.ndarray, "b c"]]:
    """Decode prompts, those with equally many tokens together: more padding than SAM's one would change the answers.

    Args:
        tokens: one entry per prompt.
        batch: prompts per run, at most.
        multimask: answer with all four candidates, else with the first.
    """
    candidates = 4 if multimask else 1
    logits = np.empty((len(tokens), candidates, LOGITS_PX, LOGITS_PX), dtype=np.float32)
    scores = np.empty((len(tokens), candidates), dtype=np.float32)
    for length in sorted({len(labels) for _, labels in tokens}):
        alike = [i for i, (_, labels) in enumerate(tokens) if len(labels) == length]
        for start in range(0, len(alike), batch):
            rows = alike[start : start + batch]
            coords = np.stack([tokens[i][0] for i in rows])
            labels = np.stack([tokens[i][1] for i in rows])
            masks, iou = run(attention_mask(coords, labels), coords, labels)
            logits[rows], scores[rows] = masks[:, :candidates], iou[:, :candidates]
    return logits, scores


def attention_mask(
    coords: Float[np.ndarray, "b n 2"], labels: Int[np.ndarray, "b n"]
) -> Float32[np.ndarray, "b 64 64"]:
    """The twin of `modeling.attention.prompt_attention_mask` on the official grid, in NumPy.

    Foreground clicks are Gaussians of peak 1 merged by max, a box hides what lies outside of it, and both together
    multiply. Background clicks never brighten the mask, unlike in the public release.
    """
    mask = np.ones((len(coords), MASK_GRID, MASK_GRID), dtype=np.float32)
    at = np.arange(MASK_GRID)
    cells = np.floor(coords / (FRAME_PX / MASK_GRID))
    inside = (cells >= 0).all(-1) & (cells < MASK_GRID).all(-1) & (labels == FOREGROUND)
    for row in range(len(coords)):
        clicks = cells[row][inside[row]]
        if len(clicks):
            squared = (at[None, None, :] - clicks[:, 0, None, None]) ** 2
            squared = squared + (at[None, :, None] - clicks[:, 1, None, None]) ** 2
            mask[row] = np.exp(-squared.min(0) / (2 * MASK_SIGMA**2))
        corners = cells[row][(labels[row] == BOX_TOP_LEFT) | (labels[row] == BOX_BOTTOM_RIGHT)]
        if len(corners):
            (x1, y1), (x2, y2) = corners.min(0).clip(0, MASK_GRID - 1), corners.max(0).clip(0, MASK_GRID - 1)
            hidden = ((at < y1) | (at > y2))[:, None] | ((at < x1) | (at > x2))[None, :]
            mask[row][hidden] = 0.0
    return mask
