"""Images that were matted leave nothing behind."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from zim_plugins.core.load import load_predictor
from zim_plugins.core.prompt import Prompt


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is read as Linux tells it")
def test_many_images_take_no_more_memory_than_a_few(rng: np.random.Generator) -> None:
    """What is kept of one image, its features, has some MB: sixty of them would show. 2,000: benchmarks/memory.py."""
    predictor = load_predictor("zim_tiny", device="cpu", refine="none")
    resident = []
    for _ in range(90):
        predictor.set_image(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8))
        predictor.predict(Prompt.from_point(60, 45))
        resident.append(resident_mb())
    kept = predictor._encoded.features
    features_mb = sum(t.nbytes for t in (kept.embedding, *kept.details, *kept.projected)) / 1e6
    assert features_mb > 1
    assert resident[-1] - resident[29] < 30 * features_mb
