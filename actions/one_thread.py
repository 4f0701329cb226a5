"""Calls that block, made one after the other on one thread, awaited by asyncio."""

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OneThread:
    """A daemon thread: a call that never comes back keeps the process from nothing, not even from leaving."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        Thread(target=self._serve, name=name, daemon=True).start()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``function`` returns or raises, called after all calls made before."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((lambda: function(*args, **kwargs), answer))
        return await answer

    def close(self) -> None:
        """End the thread after the calls made before."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            function, answer = call
            try:
                result = function()
            except BaseException as error:
                self._settle(answer, error, None)
            else:
                self._settle(answer, None, result)
                del result
            # What was called belongs to clients that may have been let go while this thread waits.
            del call, function, answer

    def _settle(self, answer: asyncio.Future[Any], error: BaseException | None, result: Any) -> None:
        def settle() -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)
