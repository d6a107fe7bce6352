"""Parts and whole objects in one batch: in the share that was asked for, the same rows however they are made."""

import numpy as np
import pytest
import torch

from tests.invented import invented_photo
from zim_plugins.training.distributed import WHOLE, Share
from zim_plugins.training.samples.compositing import SceneMix
from zim_plugins.training.samples.library import Library
from zim_plugins.training.samples.mixed import MixedSource
from zim_plugins.training.samples.source import SampleSource

ALL_PHOTOS = SceneMix(objects=1.0, segments=0.0, zoomed=0.0)


def sources(share: Share = WHOLE) -> tuple[SampleSource, SampleSource]:
    parts, objects = (Library([invented_photo(n) for n in range(low, low + 3)]) for low in (0, 10))
    return tuple(SampleSource(one, 64, 8, 2, 5, ALL_PHOTOS, share=share) for one in (parts, objects))  # type: ignore[return-value]


def images(source: MixedSource | SampleSource, step: int) -> torch.Tensor:
    return source.batch(step).images


def test_every_row_is_its_own_source_s_row():
    parts, objects = sources()
    mixed = MixedSource(parts, objects, 0.5, seed=5)
    for step in range(3):
        plain = {True: images(objects, step), False: images(parts, step)}
        for row, image in enumerate(images(mixed, step)):
            assert torch.equal(image, plain[mixed.is_object(step, row)][row])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_is_kept(share):
    mixed = MixedSource(*sources(), objects_share=share, seed=1)
    found = np.mean([mixed.is_object(step, row) for step in range(200) for row in range(16)])
    assert abs(found - share) < 0.03 and (share not in (0, 1) or found == share)


def test_batches_made_ahead_are_the_numbered_ones():
    mixed = MixedSource(*sources(), objects_share=0.5, seed=2)
    ahead = [batch.images for batch in mixed.batches(3, 7)]
    assert len(ahead) == 4
    for step, found in zip(range(3, 7), ahead, strict=True):
        assert torch.equal(found, images(mixed, step))


def test_processes_share_the_rows():
    whole = images(MixedSource(*sources(), objects_share=0.5, seed=3), 4)
    parts = [images(MixedSource(*sources(Share(n, 2)), objects_share=0.5, seed=3), 4) for n in range(2)]
    assert torch.equal(torch.cat(parts), whole)


def test_a_share_is_a_share():
    with pytest.raises(ValueError, match="objects_share lies in"):
        MixedSource(*sources(), objects_share=1.2)
