"""The second look: one more click where the first answer is most wrong, and the answer itself as a matte."""

import numpy as np
import torch

from zim_plugins.core.tokens import BACKGROUND, FOREGROUND, PAD
from zim_plugins.training.samples.compositing import SceneMix
from zim_plugins.training.samples.interactive import look_again
from zim_plugins.training.samples.library import Library
from zim_plugins.training.samples.prompts import worst_error
from zim_plugins.training.samples.source import SampleSource


def box(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((32, 32), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_the_click_lands_deep_in_the_larger_error() -> None:
    wanted = box(4, 4, 15, 15)
    assert worst_error(wanted, wanted) is None
    missing = worst_error(wanted, box(4, 4, 15, 6))  # rows 6 to 14 are missing
    assert missing is not None
    assert missing[1:] == (10, FOREGROUND)
    superfluous = worst_error(wanted, box(4, 4, 31, 15))  # columns 15 to 30 are too many
    assert superfluous is not None
    assert superfluous[1:] == (9, BACKGROUND)
    allowed = np.ones_like(wanted)
    allowed[:, 15:] = False
    assert worst_error(wanted, box(4, 4, 31, 15), allowed) is None


def test_second_prompts_hold_the_first_and_more() -> None:
    rows = 64
    target = torch.zeros(rows, 32, 32)
    target[:, 4:15, 4:15] = 1
    first = torch.full((rows, 1, 16, 16), -8.0)  # found nothing: the missing object's middle is clicked
    coords, labels = torch.full((rows, 1, 2), 9.0), torch.ones(rows, 1, dtype=torch.int64)
    each = [np.random.default_rng((0, row)) for row in range(rows)]
    more, kinds, alpha = look_again(first, target, torch.ones_like(target), coords, labels, each, reduction=2)
    assert torch.equal(more[:, :1], coords)
    assert torch.equal(kinds[:, :1], labels)
    clicked = kinds[:, 1] == FOREGROUND
    assert 0.4 < float(clicked.float().mean()) < 0.8
    assert bool((kinds[~clicked, 1] == PAD).all())
    assert float((more[clicked, 1] - 9.5).abs().max()) <= 1.5  # the middle of the object, to a stride-2 pixel
    given = alpha[:, 0, 0, 0] >= 0
    assert 0.4 < float(given.float().mean()) < 0.8
    assert bool((alpha[~given] == -1).all())
    assert float(alpha[given].max()) < 0.01


def test_a_region_of_a_drawing_is_never_asked_for_by_clicks_alone(library: Library) -> None:
    source = SampleSource(library, 64, 8, mix=SceneMix(objects=0, segments=1))
    for step in range(4):
        assert bool((source.batch(step).labels == 2).any(-1).all())  # each has a box's corner
