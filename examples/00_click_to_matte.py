"""One click on a photograph that scikit-image ships: the object leaves it. Runs offline, without a GPU.

python examples/00_click_to_matte.py
"""

from pathlib import Path

import numpy as np

from zim_plugins.core import Prompt, estimate_foreground, load_predictor, read_image, write_image


def main() -> None:
    image = read_image("sample:coins")
    predictor = load_predictor("zim_tiny")
    predictor.set_image(image.rgb)
    prediction = predictor.predict(Prompt.from_point(337, 124))
    foreground = estimate_foreground(image.rgb.astype(np.float32) / 255, prediction.alpha).foreground
    out = Path("outputs/examples")
    write_image(out / "coins_alpha.png", prediction.alpha)
    write_image(out / "coins_rgba.png", np.dstack([foreground, prediction.alpha]))
    print(f"{out}/coins_rgba.png, score {prediction.score:.2f}")


if __name__ == "__main__":
    main()
