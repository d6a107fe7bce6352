"""Work off the event loop: few threads, a bounded queue, nothing that outlives the server."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Busy(Exception):
    """The queue is full, or the work took longer than it may."""


class WorkQueue:
    """Functions run by daemon threads, first come, first served.

    With one thread it serialises what is not thread safe. Threads are daemons, so that a long computation does not
    keep a stopped server alive.

    Args:
        threads: how many run at once.
        max_waiting: functions that may wait; one more raises `Busy`.
        seconds: longest time from asking to the result.
    """

    def __init__(self, threads: int, *, max_waiting: int, seconds: float) -> None:
        self.seconds = seconds
        self._queue: queue.Queue[Any] = queue.Queue(max_waiting)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Return what `function(*args)` returns, or raise what it raises.

        Raises:
            Busy: too many wait already, or the time is over; the function may still be running then.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        try:
            self._queue.put_nowait((loop, future, function, args))
        except queue.Full:
            raise Busy("the server has more to do than it may queue: ask again in a few seconds") from None
        try:
            return await asyncio.wait_for(future, self.seconds)
        except asyncio.TimeoutError:
            raise Busy(f"this took longer than {self.seconds:g} s: try a smaller image or fewer objects") from None

    def close(self, seconds: float = 2.0) -> bool:
        """Drop what waits and tell the threads to end; return whether they did in time."""
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:  # closed before
                continue
            future = job[1]
            if not future.get_loop().is_closed():
                future.get_loop().call_soon_threadsafe(future.cancel)
        for _ in filter(threading.Thread.is_alive, self._threads):
            self._queue.put(None)
        for thread in self._threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            loop, future, function, args = job
            if future.cancelled():
                continue
            result, fault = None, None
            try:
                result = function(*args)
            except BaseException as error:  # handed on to whoever asked
                fault = error
            try:
                loop.call_soon_threadsafe(_settle, future, result, fault)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del job, function, args, future, result, fault


def _settle(future: "asyncio.Future[Any]", result: Any, fault: BaseException | None) -> None:
    if future.done():
        return
    if fault is not None:
        future.set_exception(fault)
    else:
        future.set_result(result)
