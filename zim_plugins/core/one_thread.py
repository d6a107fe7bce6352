"""The guard of a stateful face: one thread at a time, and no thread on another's image."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from zim_plugins.errors import SharedAcrossThreads

REMEDY = "encode(image) and predict(prompt, encoded=...) are made for threads, or give each thread a predictor"


class OneThread:
    """Watches who uses an object that remembers an image between calls.

    Handing the object on is allowed: a thread that never set an image itself may use the one that another has set.
    What raises is use by two threads at the same moment, and use by a thread whose own image another has since
    replaced.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._image = object()
        """Stands for the image that is set."""
        self._own = threading.local()

    @contextmanager
    def use(self, *, sets_image: bool = False) -> Iterator[None]:
        """Hold the object for the time of one call.

        Args:
            sets_image: the call replaces the image.

        Raises:
            SharedAcrossThreads: another thread is at work in it, or has replaced this thread's image.
        """
        if not self._lock.acquire(blocking=False):
            raise SharedAcrossThreads(f"another thread is using this predictor: {REMEDY}")
        try:
            if sets_image:
                self._image = self._own.image = object()
            elif getattr(self._own, "image", self._image) is not self._image:
                raise SharedAcrossThreads(f"another thread has set its own image since this one did: {REMEDY}")
            yield
        finally:
            self._lock.release()
