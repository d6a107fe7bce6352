"""Box, box with a correcting click, and a scribble: one encoding, three answers in one batch.

python examples/01_clicks_and_box.py
"""

from pathlib import Path

import numpy as np

from zim_plugins.core import Prompt, load_predictor, read_image, write_image


def main() -> None:
    image = read_image("sample:astronaut")
    predictor = load_predictor("zim_tiny")
    predictor.set_image(image.rgb)
    box = Prompt.from_box(20, 0, 420, 512)
    corrected = box.merged(Prompt.from_points([(440, 180, 0), (220, 120, 1)]))
    stroke = np.array([[220.0, 90], [210, 200], [180, 330], [150, 450]])
    scribble = Prompt.from_scribble(stroke, max_points=6)
    predictions = predictor.predict_many([box, corrected, scribble])
    for name, prediction in zip(("box", "box_and_clicks", "scribble"), predictions, strict=True):
        write_image(Path("outputs/examples") / f"astronaut_{name}.png", prediction.alpha)
        print(f"{name}: score {prediction.score:.2f}, {prediction.mask().mean():.0%} of the image")


if __name__ == "__main__":
    main()
