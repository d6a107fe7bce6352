"""Working ahead: what the next steps need is made by threads while the present one is computed."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")
STEPS_AHEAD = 3


def made_ahead(make: Callable[[int], Made], start: int, stop: int, *, threads: int = 1) -> Iterator[Made]:
    """Yield `make` of steps `start` to `stop` in order, at most `STEPS_AHEAD` of them made before they are asked for.

    A fault is raised where its step is asked for.

    >>> list(made_ahead(lambda step: step**2, 2, 5))
    [4, 9, 16]
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(make, step) for step in range(start, min(start + STEPS_AHEAD, stop)))
        for step in range(start + STEPS_AHEAD, stop + STEPS_AHEAD):
            if step < stop:
                waiting.append(pool.submit(make, step))
            yield waiting.popleft().result()
