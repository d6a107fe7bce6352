"""Worker processes: how they start, and that they end with the run that started them. Knows nothing of their work."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.context import SpawnContext


def fresh_processes() -> SpawnContext:
    """Return the context that starts a process afresh: a forked one cannot use CUDA, nor threads that hold locks.

    >>> fresh_processes().get_start_method()
    'spawn'
    """
    return multiprocessing.get_context("spawn")


def end_with_parent() -> None:
    """End this process when its parent is gone: a killed run leaves nobody behind who works on or holds its claims."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    wait_for_any([sentinel])
    os._exit(1)
