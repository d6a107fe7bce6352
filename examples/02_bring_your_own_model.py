"""Any model behind the same nouns: a Backend answers in its own square frame, ImagePredictor does all geometry.

python examples/02_bring_your_own_model.py
"""

from collections.abc import Sequence

import numpy as np

from zim_plugins.core import ImagePredictor, Prompt, read_image


class ColourBackend:
    """Opaque is what has the colour under the first click: no network, but the whole protocol."""

    name = "colour"
    frame_px = 256
    activation = "sigmoid"
    supports_clicks_and_box = False
    supports_alpha = False

    def encode(self, image: np.ndarray) -> np.ndarray:
        padded = np.zeros((self.frame_px, self.frame_px, 3), np.float32)
        padded[: image.shape[0], : image.shape[1]] = image
        return padded

    def decode(
        self, embedding: np.ndarray, prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        logits = []
        for prompt in prompts:
            x, y = np.minimum(prompt.points[0].astype(int), self.frame_px - 1)
            logits.append(8 - np.abs(embedding - embedding[y, x]).sum(2) / 8)
        return np.stack(logits)[:, None].astype(np.float32), np.full((len(prompts), 1), 0.5, np.float32)


def main() -> None:
    predictor = ImagePredictor(ColourBackend())
    predictor.set_image(read_image("sample:coffee").rgb)
    prediction = predictor.predict(Prompt.from_point(300, 200))
    print(f"{prediction.mask().mean():.0%} of the image has the colour of the coffee")


if __name__ == "__main__":
    main()
